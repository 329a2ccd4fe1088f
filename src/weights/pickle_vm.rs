//! A virtual machine for the pickles inside checkpoints that cannot run code.
//!
//! A pickle is a program for a small stack machine, and Python's own machine lets it call any function there is. This one
//! knows the handful of names that numpy arrays and PyTorch tensors need ([`super::pickle_globals`]); any other name is an error.
//! It follows CPython's Lib/pickletools.py for the instructions of protocols 2 to 5. What protocols 0 and 1 wrote as text
//! is left out: neither Paddle nor PyTorch writes them.

use std::collections::HashMap;

use super::Fault;
use super::pickle::{Object, Pickle, Span, Value};
use super::pickle_globals::Name;
use crate::error::Problem;

/// Instructions after which a file is taken for an attack: a checkpoint needs about fifty for each tensor. Each may make an object of a
/// hundred bytes, so that this bounds the memory as well.
const MAX_STEPS: usize = 1 << 22;

/// Runs the pickle that starts at byte `start` of `bytes`. The problem names the byte, not the file.
pub(super) fn read(bytes: &[u8], start: usize) -> Result<Pickle<'_>, Fault> {
    let pickle = Pickle { bytes, objects: Vec::new(), root: Value::None, end: start };
    let mut machine = Machine { pickle, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    for _ in 0..MAX_STEPS {
        if let Some(root) = machine.step()? {
            return Ok(Pickle { root, ..machine.pickle });
        }
    }
    Err(machine.pickle.damaged(format!("the pickle has more than {MAX_STEPS} instructions, which no checkpoint needs")))
}

/// What the program works on.
struct Machine<'a> {
    pickle: Pickle<'a>,
    stack: Vec<Value>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<usize, Value>,
}

impl<'a> Machine<'a> {
    /// Runs one instruction; the value of STOP ends the program.
    fn step(&mut self) -> Result<Option<Value>, Fault> {
        let [op] = self.fixed()?;
        match op {
            b'.' => return Ok(Some(self.pop()?)),
            0x80 => {
                let [protocol] = self.fixed()?;
                if protocol > 5 {
                    return Err(self.pickle.damaged(format!("pickle protocol {protocol} is not known")));
                }
            }
            // A frame only tells a reader how much to fetch at once.
            0x95 => _ = self.fixed::<8>()?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' if self.marks.last() == Some(&self.stack.len()) => _ = self.marks.pop(),
            b'0' => _ = self.pop()?,
            b'1' => _ = self.pop_to_mark()?,
            b'2' => self.stack.push(self.top()?),
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'J' => self.number(|bytes| i32::from_le_bytes(bytes).into())?,
            b'K' => self.number(|bytes| u8::from_le_bytes(bytes).into())?,
            b'M' => self.number(|bytes| u16::from_le_bytes(bytes).into())?,
            b'G' => {
                self.fixed::<8>()?;
                self.stack.push(Value::Float);
            }
            0x8A => self.long::<1>()?,
            0x8B => self.long::<4>()?,
            b'X' => self.unicode::<4>()?,
            0x8C => self.unicode::<1>()?,
            0x8D => self.unicode::<8>()?,
            b'T' | b'B' => self.byte_string::<4>()?,
            b'U' | b'C' => self.byte_string::<1>()?,
            0x8E | 0x96 => self.byte_string::<8>()?,
            b']' => self.push_object(Object::List(Vec::new())),
            b'}' => self.push_object(Object::Dict(Vec::new())),
            b')' => self.push_object(Object::Tuple(Vec::new())),
            0x85 => self.tuple(1)?,
            0x86 => self.tuple(2)?,
            0x87 => self.tuple(3)?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.push_object(Object::Tuple(items));
            }
            b'l' => {
                let items = self.pop_to_mark()?;
                self.push_object(Object::List(items));
            }
            b'd' => {
                let items = self.pop_to_mark()?;
                let pairs = self.pairs(&items)?;
                self.push_object(Object::Dict(pairs));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])?;
            }
            b'e' => {
                let items = self.pop_to_mark()?;
                self.append(&items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_to_mark()?;
                self.set_items(&items)?;
            }
            b'q' => self.remember::<1>()?,
            b'r' => self.remember::<4>()?,
            0x94 => _ = self.memo.insert(self.memo.len(), self.top()?),
            b'h' => self.recall::<1>()?,
            b'j' => self.recall::<4>()?,
            // GLOBAL, and INST, which would make an instance of what it names.
            b'c' | b'i' => {
                let module = self.line()?;
                let name = self.line()?;
                self.push_name(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Some(module), Some(name)) = (self.pickle.text(module), self.pickle.text(name)) else {
                    return Err(self.pickle.damaged("STACK_GLOBAL without two strings"));
                };
                self.push_name(module, name)?;
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                let result = self.pickle.call(callable, arguments)?;
                self.stack.push(result);
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                self.pickle.build(target, state)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.pickle.storage(id)?;
                self.push_object(Object::Storage(storage));
            }
            _ => return Err(self.pickle.damaged(format!("the pickle instruction {op:#04x} is not known here"))),
        }
        Ok(None)
    }

    fn take(&mut self, length: usize) -> Result<Span, Fault> {
        let held = self.pickle.bytes.len();
        if length > held.saturating_sub(self.pickle.end) {
            let end = self.pickle.end.saturating_add(length);
            return Err(
                Problem::new(format!("is cut short: it has {held} bytes, its pickle goes on to byte {end}")).into()
            );
        }
        let start = self.pickle.end;
        self.pickle.end += length;
        Ok(Span { start, end: self.pickle.end })
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let span = self.take(N)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.pickle.bytes[span.range()]);
        Ok(bytes)
    }

    /// An unsigned number of `N` bytes (at most 8), least significant first.
    fn unsigned<const N: usize>(&mut self) -> Result<usize, Fault> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&self.fixed::<N>()?);
        usize::try_from(u64::from_le_bytes(bytes))
            .map_err(|_| self.pickle.damaged("a length does not fit this machine"))
    }

    fn line(&mut self) -> Result<&'a str, Fault> {
        let rest = &self.pickle.bytes[self.pickle.end..];
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        let span = self.take(length)?;
        self.take(1)?;
        str::from_utf8(&self.pickle.bytes[span.range()]).map_err(|_| self.pickle.damaged("a name is not UTF-8"))
    }

    /// The stack must not be emptied below an open mark.
    fn pop(&mut self) -> Result<Value, Fault> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn top(&self) -> Result<Value, Fault> {
        let floor = self.marks.last().copied().unwrap_or(0);
        self.stack[floor..].last().copied().ok_or_else(|| self.pickle.damaged("the stack is empty"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, Fault> {
        let mark = self.marks.pop().ok_or_else(|| self.pickle.damaged("a mark is missing"))?;
        Ok(self.stack.split_off(mark))
    }

    fn push_object(&mut self, object: Object) {
        let value = self.pickle.keep(object);
        self.stack.push(value);
    }

    fn push_name(&mut self, module: &str, name: &str) -> Result<(), Fault> {
        self.stack.push(Value::Name(Name::find(module, name)?));
        Ok(())
    }

    fn number<const N: usize>(&mut self, from: impl Fn([u8; N]) -> i64) -> Result<(), Fault> {
        let bytes = self.fixed()?;
        self.stack.push(Value::Int(from(bytes)));
        Ok(())
    }

    /// A two's complement integer with a length before it.
    fn long<const N: usize>(&mut self) -> Result<(), Fault> {
        let length = self.unsigned::<N>()?;
        let span = self.take(length)?;
        let digits = &self.pickle.bytes[span.range()];
        let negative = digits.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut bytes = [if negative { 0xFF } else { 0 }; 8];
        self.stack.push(match bytes.get_mut(..length) {
            Some(low) => {
                low.copy_from_slice(digits);
                Value::Int(i64::from_le_bytes(bytes))
            }
            None => Value::Long(span),
        });
        Ok(())
    }

    fn unicode<const N: usize>(&mut self) -> Result<(), Fault> {
        let length = self.unsigned::<N>()?;
        let span = self.take(length)?;
        if str::from_utf8(&self.pickle.bytes[span.range()]).is_err() {
            return Err(self.pickle.damaged("a string is not UTF-8"));
        }
        self.stack.push(Value::Text(span));
        Ok(())
    }

    fn byte_string<const N: usize>(&mut self) -> Result<(), Fault> {
        let length = self.unsigned::<N>()?;
        let span = self.take(length)?;
        self.stack.push(Value::Bytes(span));
        Ok(())
    }

    fn tuple(&mut self, length: usize) -> Result<(), Fault> {
        let mut items = (0..length).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        self.push_object(Object::Tuple(items));
        Ok(())
    }

    fn pairs(&self, items: &[Value]) -> Result<Vec<(Value, Value)>, Fault> {
        match items.as_chunks::<2>() {
            (pairs, []) => Ok(pairs.iter().map(|[key, value]| (*key, *value)).collect()),
            _ => Err(self.pickle.damaged("a dictionary has a key without a value")),
        }
    }

    fn append(&mut self, items: &[Value]) -> Result<(), Fault> {
        let Value::Object(index) = self.top()? else { return Err(self.pickle.damaged("APPEND to what is not a list")) };
        match self.pickle.objects.get_mut(index) {
            Some(Object::List(list)) => list.extend(items),
            _ => return Err(self.pickle.damaged("APPEND to what is not a list")),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Value]) -> Result<(), Fault> {
        let pairs = self.pairs(items)?;
        let Value::Object(index) = self.top()? else {
            return Err(self.pickle.damaged("SETITEM on what is not a dictionary"));
        };
        match self.pickle.objects.get_mut(index) {
            Some(Object::Dict(dict)) => dict.extend(pairs),
            _ => return Err(self.pickle.damaged("SETITEM on what is not a dictionary")),
        }
        Ok(())
    }

    fn remember<const N: usize>(&mut self) -> Result<(), Fault> {
        let index = self.unsigned::<N>()?;
        let value = self.top()?;
        self.memo.insert(index, value);
        Ok(())
    }

    fn recall<const N: usize>(&mut self) -> Result<(), Fault> {
        let index = self.unsigned::<N>()?;
        let value = self.memo.get(&index).copied();
        self.stack.push(value.ok_or_else(|| self.pickle.damaged(format!("the memo has no entry {index}")))?);
        Ok(())
    }
}
