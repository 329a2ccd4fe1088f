//! A feed-forward layer as one operation. Of its inner size it keeps one tensor, the activation's input, where two linear layers and an
//! activation keep two: what the second layer reads in the backward pass is made again, which costs one pass over it.

use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;

use super::linear::{column_sums, factor, product};
use super::matrix::Factor;
use super::operation::{Operation, operate};
use super::rows::{self, Gelu, Relu, shape_of};
use super::{tensor, values};
use crate::kernels::{Activation, Products};

/// See [`crate::kernels::feed_forward`].
pub fn feed_forward(
    x: &Tensor<2>,
    [first, second]: [(&Tensor<2>, &Tensor<1>); 2],
    activation: Activation,
    products: Products,
) -> Option<Tensor<2>> {
    let [x, weight, weight_too] = [x, first.0, second.0].map(|matrix| matrix.clone().into_dispatch());
    let [bias, bias_too] = [first.1, second.1].map(|bias| bias.clone().into_dispatch());
    operate(FeedForward { activation, products }, [x, weight, bias, weight_too, bias_too])
}

#[derive(Debug, Clone)]
struct FeedForward {
    activation: Activation,
    products: Products,
}

/// What the backward pass reads.
#[derive(Debug)]
struct Pass {
    /// `[tokens, hidden]`
    x: FlexTensor,
    /// `[hidden, inner]` and `[inner, hidden]`
    weights: [FlexTensor; 2],
    /// The activation's input, `[tokens, inner]`.
    inner: FlexTensor,
}

impl FeedForward {
    /// `[tokens, inner] -> [tokens, inner]`
    fn activated(&self, inner: &FlexTensor) -> FlexTensor {
        let (shape, width) = shape_of(inner);
        let values = match self.activation {
            Activation::Gelu => rows::forward(Gelu, width, values(inner)),
            Activation::Relu => rows::forward(Relu, width, values(inner)),
        };
        tensor(values, shape)
    }

    /// The gradient of the activation's input from that of its output, both `[tokens, inner]`.
    fn of_inner(&self, inner: &FlexTensor, gradient: &FlexTensor) -> FlexTensor {
        let (shape, width) = shape_of(inner);
        let (inner, gradient) = (values(inner), values(gradient));
        let values = match self.activation {
            Activation::Gelu => rows::backward(Gelu, width, inner, gradient),
            Activation::Relu => rows::backward(Relu, width, inner, gradient),
        };
        tensor(values, shape)
    }
}

impl Operation for FeedForward {
    type Kept = Pass;

    fn forward(&self, inputs: Vec<FlexTensor>, _: bool) -> (FlexTensor, Pass) {
        let Ok([x, weight, bias, weight_too, bias_too]) = <[FlexTensor; 5]>::try_from(inputs) else {
            unreachable!("`feed_forward` gives five");
        };
        let inner = product(self.products, factor(&x), factor(&weight), Some(values(&bias)));
        let activated = self.activated(&inner);
        let output = product(self.products, factor(&activated), factor(&weight_too), Some(values(&bias_too)));
        (output, Pass { x, weights: [weight, weight_too], inner })
    }

    fn backward(&self, pass: &Pass, gradient: &FlexTensor, wanted: &[bool]) -> Vec<Option<FlexTensor>> {
        let Pass { x, weights: [weight, weight_too], inner } = pass;
        let product = |left: Factor, right: Factor| product(self.products, left, right, None);
        let of_weight_too = wanted[3].then(|| product(factor(&self.activated(inner)).transposed(), factor(gradient)));
        let of_activated = product(factor(gradient), factor(weight_too).transposed());
        let of_inner = self.of_inner(inner, &of_activated);
        drop(of_activated);
        vec![
            wanted[0].then(|| product(factor(&of_inner), factor(weight).transposed())),
            wanted[1].then(|| product(factor(x).transposed(), factor(&of_inner))),
            wanted[2].then(|| column_sums(&of_inner)),
            of_weight_too,
            wanted[4].then(|| column_sums(gradient)),
        ]
    }
}
