//! From files to documents, one after the other, from any place on.

use indicatif::ProgressBar;

use super::inputs::Input;
use super::pairs::{Columns, Form, joined, next_of_two};
use super::progress::Progress;
use super::text_file::{Place, Position, Source, TextFile};
use crate::data::jsonl::{self, Fault};
use crate::error::Result;
use crate::recipe::CorpusOptions;

/// What makes a document, or a pair, of a line.
type MakeText<'a> = Box<dyn Fn(&str) -> Result<String, Fault> + Send + 'a>;

/// What is being read.
enum Opened<'a> {
    Text(TextFile),
    Rows(TextFile, MakeText<'a>),
    Halves([TextFile; 2]),
}

/// The documents of all files.
pub(super) struct Documents<'a> {
    inputs: &'a [Input],
    options: &'a CorpusOptions,
    position: Position,
    file: Option<Opened<'a>>,
    /// Bytes of the files as they lie there, read so far.
    read: ProgressBar,
}

impl<'a> Documents<'a> {
    /// Goes on at a position.
    pub(super) fn new(
        inputs: &'a [Input],
        options: &'a CorpusOptions,
        position: Position,
        progress: &Progress,
    ) -> Self {
        progress.resume_at(inputs.iter().take(position.place.part).map(|input| input.bytes).sum());
        Self { inputs, options, position, file: None, read: progress.bar.clone() }
    }
}

impl Source for Documents<'_> {
    fn position(&self) -> Position {
        self.position
    }

    fn next(&mut self) -> Result<Option<String>> {
        let Position { place, left_out } = &mut self.position;
        while place.part < self.inputs.len() {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(Opened::at(self.inputs, self.options, *place, &self.read)?),
            };
            let found = match file {
                Opened::Text(file) => file.next_text(self.options, left_out),
                Opened::Rows(file, make) => file.next_row(self.options, left_out, &*make),
                Opened::Halves(files) => next_of_two(files, self.options, left_out),
            }?;
            let Some(text) = found else {
                *place = Place { part: place.part + file.parts(), ..Place::default() };
                self.file = None;
                continue;
            };
            *place = file.place(place.part);
            if self.options.pair().is_some() || text.chars().nth(self.options.min_document_length).is_some() {
                return Ok(Some(text));
            }
            left_out.short += 1;
        }
        Ok(None)
    }
}

impl<'a> Opened<'a> {
    /// Opens what begins with the file of `place`.
    ///
    /// # Errors
    /// A file cannot be read, or has not the columns that the options name.
    fn at(inputs: &[Input], options: &'a CorpusOptions, place: Place, read: &ProgressBar) -> Result<Self> {
        let path = &inputs[place.part].path;
        let mut file = TextFile::open(path, place, read)?;
        let (languages, columns) = (options.pair().unwrap_or_default(), options.columns.as_deref());
        Ok(match Form::find(path, options)? {
            Form::Text => Self::Text(file),
            Form::Json => Self::Rows(file, Box::new(|line| jsonl::text_of(line, &options.json_key))),
            Form::PairsJson => {
                let pair = move |line: &str| match columns {
                    Some([source, target]) => jsonl::texts_of(line, [source, target]),
                    _ => jsonl::translation_of(line, languages),
                };
                Self::Rows(file, Box::new(move |line| pair(line).map(joined)))
            }
            Form::PairsTable => {
                let columns = Columns::find(path, columns)?;
                if columns.width.is_some() && place.offset == 0 {
                    file.next_line()?;
                }
                Self::Rows(file, Box::new(move |line| columns.pair(line).map(joined)))
            }
            // `arrange` has put the target behind its source.
            Form::Source | Form::Target => {
                let second = Place { offset: place.second, ..place };
                Self::Halves([file, TextFile::open(&inputs[place.part + 1].path, second, read)?])
            }
        })
    }

    /// How many files these are.
    fn parts(&self) -> usize {
        if let Self::Halves(files) = self { files.len() } else { 1 }
    }

    /// Behind what was last returned.
    fn place(&self, part: usize) -> Place {
        match self {
            Self::Text(file) | Self::Rows(file, _) => file.place(part),
            Self::Halves([source, target]) => Place { second: target.place(part).offset, ..source.place(part) },
        }
    }
}
