//! What launchers tell a process of the ranks that it is among.

use crate::error::{Error, Problem, Result};

/// A process that a launcher has started with others.
pub struct Launched {
    /// How many they are.
    size: usize,
    rank: usize,
}

/// What a launcher says in the environment; `None` where there is none, or where it has started this process alone.
pub fn launched() -> Option<Launched> {
    found(|name| std::env::var(name).ok()?.parse().ok())
}

/// Whether a launcher has started this process, alone or with others: what looks like a terminal is a pipe to the launcher.
pub fn is_launched() -> bool {
    ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_PROCID"].iter().any(|name| std::env::var_os(name).is_some())
}

/// The number of this process among those that a launcher has started, if there are several.
pub fn launched_rank() -> Option<usize> {
    launched().map(|launched| launched.rank)
}

fn found(number: impl Fn(&str) -> Option<usize>) -> Option<Launched> {
    // Open MPI's mpirun, MPICH's, and Slurm's srun.
    let said = ["OMPI_COMM_WORLD", "PMI"].into_iter().find_map(|word| Some((number(&format!("{word}_SIZE"))?, word)));
    let launched = match said {
        Some((size, word)) => Launched { size, rank: number(&format!("{word}_RANK")).unwrap_or(0) },
        None => Launched { size: number("SLURM_NTASKS")?, rank: number("SLURM_PROCID").unwrap_or(0) },
    };
    (launched.size > 1).then_some(launched)
}

/// Refuses ranks for a command that is of one process.
///
/// # Errors
/// mpirun has started this process with others.
pub fn refuse() -> Result<()> {
    // Slurm says how many tasks there are to a batch script's own process, too.
    if std::env::var_os("OMPI_COMM_WORLD_SIZE").or_else(|| std::env::var_os("PMI_SIZE")).is_none() {
        return Ok(());
    }
    let Some(launched) = launched() else { return Ok(()) };
    let problem = Problem::new(format!("{} ranks were started of a command that is of one process", launched.size));
    Err(launched.error(problem.help("`kiln train` and `kiln prepare` take several; run the others without mpirun")))
}

impl Launched {
    /// One error for all ranks: the first tells of it.
    pub fn error(&self, problem: Problem) -> Error {
        if self.rank == 0 { problem.into() } else { Error::Elsewhere(2) }
    }

    /// What is wrong where MPI finds no other ranks.
    #[cfg(feature = "mpi")]
    pub fn not_joined(&self) -> Problem {
        let what = format!("{} ranks were started, and MPI joins none of them to the others", self.size);
        Problem::new(what).help(match std::env::var_os("SLURM_PROCID").is_some() {
            true => "start them with `srun --mpi=pmix`, or ask Slurm for one task (--ntasks=1)",
            false => "start them with the mpirun of the MPI that this binary was built with",
        })
    }
}

/// What is wrong where ranks were started of a build that does not know of ranks.
pub fn no_mpi() -> Problem {
    let what = "several ranks were started, and this build of Kiln is of one process";
    let of_build =
        "build it on the cluster with `scripts/install-packages.sh --mpi` and `cargo build --release --features mpi`";
    Problem::new(what).help(of_build)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, usize)]) -> Option<(usize, usize)> {
        let number = |name: &str| variables.iter().find(|(word, _)| *word == name).map(|(_, number)| *number);
        found(number).map(|launched| (launched.size, launched.rank))
    }

    #[test]
    fn launchers_are_known_by_what_they_say() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", 1)]), None);
        assert_eq!(of(&[("OMPI_COMM_WORLD_SIZE", 4), ("OMPI_COMM_WORLD_RANK", 2)]), Some((4, 2)));
        assert_eq!(of(&[("PMI_SIZE", 2), ("PMI_RANK", 1)]), Some((2, 1)));
        assert_eq!(of(&[("SLURM_NTASKS", 8), ("SLURM_PROCID", 3)]), Some((8, 3)));
        // A batch script that runs one process.
        assert_eq!(of(&[("SLURM_NTASKS", 1), ("SLURM_PROCID", 0)]), None);
    }
}
