//! Figures: what predictions are compared by, the results of an evaluation, and their table.

pub mod answers;
pub mod chunks;
pub mod losses;
mod report;
mod result;
pub mod spans;

pub use losses::{LossSum, LossSums};
pub use report::{figures, table};
pub use result::{
    AnswerAverage, AnswerFigures, Average, ChunkAverage, ChunkFigures, ChunkResult, Evaluation, OrderResult, SetResult,
    TypeResult, average,
};
