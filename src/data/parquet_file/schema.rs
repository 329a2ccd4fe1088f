//! The columns of a parquet file by the names that people know them by, and whether they hold what is wanted of them.

use ::parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use ::parquet::schema::types::{ColumnDescPtr, SchemaDescriptor, Type};

use crate::error::Problem;
use crate::suggest;

/// How many columns a message names.
const NAMED: usize = 50;

/// What is wanted of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A text.
    Text,
    /// A word, which may be written as a number: a language, an id.
    Word,
    /// A word, or several: labels.
    Words,
    /// A list of words: tokens, tags.
    List,
    /// A list of whole numbers.
    Numbers,
}

impl Role {
    /// What a column for it holds.
    fn said(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Word => "text or numbers",
            Self::Words => "text or numbers, or lists of them",
            Self::List => "lists of text or of numbers",
            Self::Numbers => "lists of whole numbers",
        }
    }

    fn takes(self, leaf: &Leaf) -> bool {
        match (self, leaf.list) {
            (_, List::Deep) => false,
            (Self::Text, list) => list == List::No && leaf.values == Values::Text,
            (Self::Word, list) => list == List::No && leaf.values != Values::Other,
            (Self::Words, _) => leaf.values != Values::Other,
            (Self::List, List::Of { .. }) => leaf.values != Values::Other,
            (Self::Numbers, List::Of { .. }) => matches!(leaf.values, Values::Whole { .. }),
            (Self::List | Self::Numbers, List::No) => false,
        }
    }
}

/// A column that has values of its own.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    /// The names of the columns that it is in and its own, with dots between; those that only make a list are left out.
    pub(super) name: String,
    /// Its number among those of the file.
    pub(super) index: usize,
    pub(super) column: ColumnDescPtr,
    pub(super) values: Values,
    pub(super) list: List,
}

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    Text,
    Truth,
    Whole {
        signed: bool,
    },
    Real,
    /// What is neither text nor a plain number: dates, decimals, bytes.
    Other,
}

/// Whether a row has one value of a column, or a list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    No,
    /// From this definition level on there is an element.
    Of {
        level: i16,
    },
    /// Lists of lists.
    Deep,
}

/// All columns with values, in the order of the file.
pub(super) fn leaves(schema: &SchemaDescriptor) -> Vec<Leaf> {
    let mut walk = Walk { found: Vec::new(), schema };
    for field in schema.root_schema().get_fields() {
        walk.visit(field, "", false, 0, &mut Vec::new());
    }
    walk.found
}

struct Walk<'a> {
    found: Vec<Leaf>,
    schema: &'a SchemaDescriptor,
}

impl Walk<'_> {
    /// Visits `node`, which stands below `above` and whose own name `is_hidden` because it only makes a list. `level` is the definition
    /// level above it, `lists` those at which the elements of lists begin.
    fn visit(&mut self, node: &Type, above: &str, is_hidden: bool, mut level: i16, lists: &mut Vec<i16>) {
        let repetition = node.get_basic_info().repetition();
        level += i16::from(repetition != Repetition::REQUIRED);
        if repetition == Repetition::REPEATED {
            lists.push(level);
        }
        let name = match (is_hidden, above.is_empty()) {
            (true, _) => above.to_string(),
            (false, true) => node.name().to_string(),
            (false, false) => format!("{above}.{}", node.name()),
        };
        match node {
            Type::PrimitiveType { .. } => self.keep(name, lists),
            Type::GroupType { fields, .. } => {
                // A list is a group of one repeated column, which is the element, or a group of one column that is the element.
                let makes_list =
                    is_list(node) || (is_hidden && repetition == Repetition::REPEATED && fields.len() == 1);
                fields.iter().for_each(|field| self.visit(field, &name, makes_list, level, lists));
            }
        }
        if repetition == Repetition::REPEATED {
            lists.pop();
        }
    }

    fn keep(&mut self, name: String, lists: &[i16]) {
        let index = self.found.len();
        let column = self.schema.column(index);
        let list = match lists {
            [] => List::No,
            [level] => List::Of { level: *level },
            _ => List::Deep,
        };
        self.found.push(Leaf { name, index, values: values_of(&column), column, list });
    }
}

fn is_list(node: &Type) -> bool {
    let info = node.get_basic_info();
    info.converted_type() == ConvertedType::LIST || matches!(info.logical_type_ref(), Some(LogicalType::List))
}

fn values_of(column: &ColumnDescPtr) -> Values {
    let (logical, converted) = (column.logical_type_ref(), column.converted_type());
    let is_text = matches!(logical, None | Some(LogicalType::String | LogicalType::Enum | LogicalType::Json))
        && matches!(converted, ConvertedType::NONE | ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON);
    let signed = |signed| Values::Whole { signed };
    let whole = match (logical, converted) {
        (Some(LogicalType::Integer(int)), _) => signed(int.is_signed),
        (None, ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 | ConvertedType::UINT_64) => {
            signed(false)
        }
        (
            None,
            ConvertedType::NONE
            | ConvertedType::INT_8
            | ConvertedType::INT_16
            | ConvertedType::INT_32
            | ConvertedType::INT_64,
        ) => signed(true),
        _ => Values::Other,
    };
    match column.physical_type() {
        Physical::BYTE_ARRAY if is_text => Values::Text,
        Physical::BOOLEAN => Values::Truth,
        Physical::INT32 | Physical::INT64 => whole,
        Physical::FLOAT | Physical::DOUBLE => Values::Real,
        _ => Values::Other,
    }
}

/// The column called `name`, if it is there and holds what is wanted. The error has no place yet.
pub(super) fn find<'a>(leaves: &'a [Leaf], name: &str, role: Role) -> Result<&'a Leaf, Box<Problem>> {
    let Some(leaf) = leaves.iter().find(|leaf| leaf.name == name) else {
        let inside: Vec<&str> = leaves.iter().map(|leaf| leaf.name.as_str()).filter(|of| is_inside(of, name)).collect();
        let names = || leaves.iter().map(|leaf| leaf.name.as_str()).take(NAMED);
        return Err(Box::new(match inside.first() {
            Some(_) => Problem::new(format!("the column `{name}` has columns of its own"))
                .help(format!("name one of them: {}", inside[..inside.len().min(NAMED)].join(", "))),
            None => {
                Problem::new(format!("there is no column `{name}`")).help(suggest::known(name, "the columns", names()))
            }
        }));
    };
    if role.takes(leaf) {
        return Ok(leaf);
    }
    let problem = Problem::new(format!("the column `{name}` holds {}, not {}", leaf.said(), role.said()));
    let fitting: Vec<&str> =
        leaves.iter().filter(|leaf| role.takes(leaf)).map(|leaf| leaf.name.as_str()).take(NAMED).collect();
    Err(Box::new(match fitting.is_empty() {
        true => problem.help(format!("no column holds {}: is it the right file?", role.said())),
        false => problem.help(format!("columns with {}: {}", role.said(), fitting.join(", "))),
    }))
}

fn is_inside(name: &str, above: &str) -> bool {
    name.strip_prefix(above).is_some_and(|rest| rest.starts_with('.'))
}

impl Leaf {
    fn said(&self) -> String {
        let values = match self.values {
            Values::Text => "text".to_string(),
            Values::Truth => "true or false".to_string(),
            Values::Whole { .. } => "whole numbers".to_string(),
            Values::Real => "numbers".to_string(),
            Values::Other => match (self.column.logical_type_ref(), self.column.converted_type()) {
                (Some(kind), _) => format!("values of the type {kind:?}"),
                (None, ConvertedType::NONE) => format!("values of the type {}", self.column.physical_type()),
                (None, kind) => format!("values of the type {kind}"),
            },
        };
        match self.list {
            List::No => values,
            List::Of { .. } => format!("lists of {values}"),
            List::Deep => format!("lists in lists of {values}"),
        }
    }
}
