//! Functions that run in the widest vectors the processor has.

/// Defines functions whose bodies are compiled for every level of vector instructions; a call takes the best that is there. A closure
/// given to pulp will not do: where the compiler does not inline it, it is compiled once, for the oldest processors. A lifetime of its own
/// goes with what a function writes and gives back, so that it may be called on any portion of a buffer.
macro_rules! vectorized {
    ($(
        $(#[$attribute:meta])*
        $scope:vis fn $name:ident<$life:lifetime $(, $other:lifetime)? $(, $kernel:ident: $bound:ident)?>($($input:ident: $type:ty),* $(,)?) $(-> $output:ty)? $body:block
    )*) => {$(
        $(#[$attribute])*
        $scope fn $name<$life $(, $other)? $(, $kernel: $bound)?>($($input: $type),*) $(-> $output)? {
            struct Work<$life $(, $other)? $(, $kernel)?> { $($input: $type),* }

            impl<$life $(, $other)? $(, $kernel: $bound)?> pulp::NullaryFnOnce for Work<$life $(, $other)? $(, $kernel)?> {
                type Output = vectorized!(@ $($output)?);

                #[inline(always)]
                fn call(self) -> Self::Output {
                    // The inputs of a function are known not to overlap.
                    #[inline(always)]
                    fn run<$life $(, $other)? $(, $kernel: $bound)?>($($input: $type),*) $(-> $output)? $body
                    run($(self.$input),*)
                }
            }
            pulp::Arch::new().dispatch(Work { $($input),* })
        }
    )*};
    (@ $output:ty) => { $output };
    (@) => { () };
}

pub(super) use vectorized;

#[cfg(all(test, target_arch = "x86_64", target_os = "linux", not(debug_assertions)))]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    /// No result tells vector code from other code, so this reads the machine code of the test's own program.
    #[test]
    fn every_kernel_is_compiled_for_avx_512() {
        let program = std::env::current_exe().unwrap();
        let arguments = ["--disassemble", "--demangle", "--no-show-raw-insn"];
        let mut objdump = Command::new("objdump").args(arguments).arg(program).stdout(Stdio::piped()).spawn();
        let objdump = objdump.as_mut().expect("objdump comes with the linker, in binutils");
        let mut functions: Vec<(String, bool)> = Vec::new(); // whether each works on whole vectors
        let mut inside = false;
        for line in BufReader::new(objdump.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if line.ends_with(">:") {
                inside = line.contains("pulp::x86::v4::V4::vectorize::imp");
                if inside {
                    functions.push((line, false));
                }
            } else if inside && line.contains("%zmm") {
                functions.last_mut().unwrap().1 = true;
            }
        }
        assert!(objdump.wait().unwrap().success());
        assert!(functions.len() > 12, "{functions:?}");
        assert!(functions.iter().all(|(_, is_vector_code)| *is_vector_code), "{functions:?}");
    }
}
