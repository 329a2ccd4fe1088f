//! The values that a new ELMo begins with.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use rand_distr::{Distribution, Uniform};

use super::Elmo;
use crate::weights::{ModulePath, generator};

impl Elmo {
    /// New values for every parameter that `wanted` picks by its name, as Paddle makes them where Baidu's script says nothing:
    /// Xavier's uniform distribution for matrices and for the softmax's bias, and for other biases 0. They depend on the seed and
    /// the parameter's name alone.
    pub fn initialised(self, seed: u64, wanted: impl Fn(&str) -> bool) -> Self {
        self.map(&mut Initialiser { path: ModulePath::default(), seed, wanted })
    }
}

struct Initialiser<F> {
    path: ModulePath,
    seed: u64,
    wanted: F,
}

impl<F: Fn(&str) -> bool> ModuleMapper for Initialiser<F> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.joined();
        if !(self.wanted)(&name) {
            return param;
        }
        let shape = param.lazy_shape();
        let Some(limit) = limit(&name, shape.as_slice()) else { return Param::from_tensor(param.val()) };
        let mut rng = generator(self.seed, &name);
        // A limit is a positive number: sizes are.
        let Ok(uniform) = Uniform::new_inclusive(-limit, limit) else { return param };
        let values: Vec<f32> = (0..shape.num_elements()).map(|_| uniform.sample(&mut rng) as f32).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &param.lazy_device()))
    }
}

/// The largest number that Xavier's distribution gives a parameter (Glorot and Bengio 2010, equation 16; the fans are
/// `Initializer._compute_fans` of Paddle, to which a vector's are both its length); none for what keeps its constant.
fn limit(name: &str, shape: &[usize]) -> Option<f64> {
    let fans = match shape {
        [length] if name == "softmax.bias" => 2 * length,
        [rows, columns] => rows + columns,
        [count, dim, width] => (count + dim) * width,
        _ => return None,
    };
    Some((6.0 / fans as f64).sqrt())
}
