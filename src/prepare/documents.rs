//! From files to documents, one after the other, from any place on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::inputs::Input;
use super::pairs::PairFile;
use super::text_file::{LeftOut, Place, TextFile, is_jsonl};
use crate::error::Result;
use crate::recipe::CorpusOptions;

/// What is being read.
enum Opened {
    Text(TextFile),
    Json(TextFile),
    Pairs(Box<PairFile>),
}

/// The documents of all files.
pub(super) struct Documents<'a> {
    inputs: &'a [Input],
    options: &'a CorpusOptions,
    /// Behind the document last returned.
    place: Place,
    file: Option<Opened>,
    left_out: LeftOut,
    /// Bytes of the files as they lie there, read so far.
    read: Arc<AtomicU64>,
}

impl<'a> Documents<'a> {
    /// Goes on at `place`, in front of which so much was left out.
    pub(super) fn new(inputs: &'a [Input], options: &'a CorpusOptions, place: Place, left_out: LeftOut) -> Self {
        let before: u64 = inputs.iter().take(place.part).map(|input| input.bytes).sum();
        let read = Arc::new(AtomicU64::new(before));
        Self { inputs, options, place, file: None, left_out, read }
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    pub(super) fn left_out(&self) -> LeftOut {
        self.left_out
    }

    /// Bytes of the files that have been read, compressed as they are, from the first file on.
    pub(super) fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// The text of the next document with its line ends, or the two sentences of the next pair, each on a line; `None` after the
    /// last.
    ///
    /// # Errors
    /// A file or a line cannot be read, unless the options say that such lines are left out.
    pub(super) fn next(&mut self) -> Result<Option<String>> {
        while self.place.part < self.inputs.len() {
            let file = match &mut self.file {
                Some(file) => file,
                None => self.file.insert(Opened::at(self.inputs, self.options, self.place, &self.read)?),
            };
            let found = match file {
                Opened::Text(file) => file.next_text(self.options, &mut self.left_out),
                Opened::Json(file) => file.next_json(self.options, &mut self.left_out),
                Opened::Pairs(file) => file.next(self.options, &mut self.left_out),
            }?;
            let Some(text) = found else {
                self.place = Place { part: self.place.part + file.parts(), ..Place::default() };
                self.file = None;
                continue;
            };
            self.place = file.place(self.place.part);
            if matches!(file, Opened::Pairs(_)) || text.chars().nth(self.options.min_document_length).is_some() {
                return Ok(Some(text));
            }
            self.left_out.short += 1;
        }
        Ok(None)
    }
}

impl Opened {
    fn at(inputs: &[Input], options: &CorpusOptions, place: Place, read: &Arc<AtomicU64>) -> Result<Self> {
        if let Some(languages) = options.pair() {
            let file = PairFile::open(inputs, options, languages, place, read)?;
            return Ok(Self::Pairs(Box::new(file)));
        }
        let path = &inputs[place.part].path;
        let file = TextFile::open(path, place, read)?;
        Ok(if is_jsonl(options.format, path) { Self::Json(file) } else { Self::Text(file) })
    }

    /// How many files these are.
    fn parts(&self) -> usize {
        if let Self::Pairs(file) = self { file.parts() } else { 1 }
    }

    /// Behind what was last returned.
    fn place(&self, part: usize) -> Place {
        match self {
            Self::Text(file) | Self::Json(file) => file.place(part),
            Self::Pairs(file) => file.place(part),
        }
    }
}
