//! No bytes make the readers panic, run anything, or take memory that the file does not account for.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

const FIXTURES: [&str; 9] = [
    "model.safetensors",
    "pytorch_model.bin",
    "legacy.bin",
    "plain2.pdparams",
    "plain4.pdparams",
    "plain5.pdparams",
    "pairs4.pdparams",
    "split2.pdparams",
    "order4.pdparams",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights")
}

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(name)).unwrap()
}

/// Variables of Paddle's, a file each.
const VARIABLES: [&str; 4] =
    ["static/types/lod", "static/types/int64", "static/types/single", "static/static_vars/linear_4.w_0"];

/// Opens the bytes and reads every tensor in them.
fn read_all(bytes: &[u8]) -> Result<usize, String> {
    let (_, found) = entries(Path::new("w.bin"), bytes, 0).map_err(|problem| problem.to_string())?;
    for (_, entry) in &found {
        let _ = entry.read_f32(bytes).map(drop).or_else(|_| entry.read_i64(bytes).map(drop));
        let _ = entry.read_f64(bytes);
    }
    Ok(found.len())
}

#[test]
fn a_file_cut_at_any_byte_is_refused() {
    for name in FIXTURES {
        let whole = fixture(name);
        assert!(read_all(&whole).unwrap() >= 8, "{name}");
        for length in 0..whole.len() {
            let message = read_all(&whole[..length]).expect_err(name);
            assert!(!message.is_empty(), "{name} cut to {length}");
        }
    }
}

#[test]
fn a_variable_cut_at_any_byte_is_refused() {
    for name in VARIABLES {
        let whole = fixture(name);
        assert_eq!(read_all(&whole), Ok(1), "{name}");
        for length in 0..whole.len() {
            let message = read_all(&whole[..length]).expect_err(name);
            assert!(length < 4 || message.starts_with("is cut short: "), "{name} cut to {length}: {message}");
        }
    }
}

#[test]
fn a_variable_whose_lengths_are_wrong_is_refused() {
    // version, no levels, version, length of the description, description
    let variable = |levels: &[u8], length: i32, description: &[u8]| {
        read_all(&[&[0; 4], levels, &[0; 4], &length.to_le_bytes(), description].concat()).unwrap_err()
    };
    let (none, huge) = ([0; 8], [0xFF; 8]);
    let float: &[u8] = &[0x08, 5];
    assert!(variable(&huge, 2, float).starts_with("is cut short: it has 22 bytes"));
    assert!(variable(&[&[1, 0, 0, 0, 0, 0, 0, 0], &huge[..]].concat(), 2, float).starts_with("is cut short: "));
    assert_eq!(variable(&none, -1, float), "is damaged at byte 20: its description has a negative length");
    assert_eq!(variable(&none, 1, float), "is damaged at byte 22: its description is longer than it says");
    assert_eq!(variable(&none, i32::MAX, float), "is cut short: it has 22 bytes, its variable goes on to byte 23");
    assert_eq!(variable(&none, 0, b""), "is damaged at byte 20: its description names no type");
    assert_eq!(variable(&none, 2, &[0x08, 23]), "holds elements of Paddle's type number 23");
    assert_eq!(variable(&none, 2, &[0x1A, 0]), "is damaged at byte 21: its description has an unknown field 0x1a");
    let minus_one = [&[0x10], &[0xFF; 9][..], &[1]].concat();
    assert_eq!(variable(&none, 13, &[float, &minus_one].concat()), "is damaged at byte 33: a dimension is negative");
    let endless = [&[0x10], &[0xFF; 12][..]].concat();
    let message = variable(&none, 15, &[float, &endless].concat());
    assert_eq!(message, "is damaged at byte 33: a number has more than ten bytes");
    let dimensions = |length: &[u8], count: usize| [float, &[&[0x10], length].concat().repeat(count)].concat();
    let exabytes = dimensions(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], 1);
    let message = variable(&none, 11, &exabytes);
    assert_eq!(message, "is cut short: it has 31 bytes, its variable goes on to byte 288230376151711771");
    let more = dimensions(&[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], 3);
    assert!(variable(&none, 29, &more).ends_with("is too large"), "{}", variable(&none, 29, &more));
    let message = variable(&none, 22, &dimensions(&[1], 10));
    assert_eq!(message, "is damaged at byte 41: it has more than 9 dimensions");
    let versions = [[1u8, 0, 0, 0].as_slice(), &none].concat();
    assert_eq!(variable(&none, 2, &[]), "is cut short: it has 20 bytes, its variable goes on to byte 21");
    let message = read_all(&[&[0; 4], &none[..], &versions].concat()).unwrap_err();
    assert_eq!(message, "is damaged at byte 16: version 1 is not known");
}

#[test]
fn attacks_are_refused_by_name_and_run_nothing() {
    for (name, wants) in [
        ("reduce2.pdparams", "posix.system"),
        ("stack_global4.pdparams", "posix.system"),
        ("global.pdparams", "os.system"),
        ("inst.pdparams", "os.system"),
        ("build_known.pdparams", "os.system"),
        ("torch.bin", "posix.system"),
    ] {
        let path = folder().join("attacks").join(name);
        let message = Weights::open(&path).unwrap_err().to_string();
        let expected = format!("{name}: wants to run `{wants}`: Kiln does not run code from checkpoints");
        assert!(message.ends_with(&expected), "{message}");
    }
    let message = read_all(&fixture("attacks/build_state.pdparams")).unwrap_err();
    assert_eq!(message, "is damaged at byte 28: BUILD of what cannot be built");
    assert!(!Path::new("kiln-was-attacked").exists() && !folder().join("kiln-was-attacked").exists());
}

#[test]
fn a_hostile_name_does_not_reach_the_terminal() {
    let message = read_all(&[b"\x80\x02c\x1b[31mx\n".as_slice(), &[b'y'; 1 << 20], b"\n."].concat()).unwrap_err();
    assert!(message.starts_with("wants to run `\\u{1b}[31mx.yyy") && message.len() < 200, "{message}");
}

#[test]
fn pickles_that_would_exhaust_a_naive_reader_are_refused() {
    // A tuple in a tuple, a million deep: no recursion, neither when read nor when dropped.
    let deep = [b"\x80\x02)".as_slice(), &[0x85; 1_000_000], b"."].concat();
    assert_eq!(read_all(&deep).unwrap_err(), "is a pickle, but not a dictionary of tensors");
    // Each tuple holds the one before twice: 2^60 items if they were copied.
    let doubling = [b"\x80\x02)".as_slice(), &b"2\x86".repeat(60), b"."].concat();
    assert_eq!(read_all(&doubling).unwrap_err(), "is a pickle, but not a dictionary of tensors");
    // A dictionary that holds itself.
    assert_eq!(read_all(b"\x80\x02}\x94X\x01\x00\x00\x00wh\x00s.").unwrap(), 0);
    // Lengths of exabytes, for text, bytes, a long and a memo index.
    for program in [
        b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.".as_slice(),
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"\x80\x02\x8b\xff\xff\xff\xff.",
        b"\x80\x02Nr\xff\xff\xff\xff0j\xff\xff\xff\xfe.",
    ] {
        read_all(program).unwrap_err();
    }
    let endless = [b"\x80\x02".as_slice(), &b"N0".repeat(1 << 23), b"N."].concat();
    assert!(read_all(&endless).unwrap_err().contains("which no checkpoint needs"));
}

/// `program` as a pickle whose only entry is named `w`.
fn state(value: &[u8]) -> Vec<u8> {
    [b"\x80\x02}X\x01\0\0\0w", value, b"s."].concat()
}

/// A numpy array of two bytes, `[2]`.
const ARRAY: &[u8] =
    b"cnumpy.core.numeric\n_frombuffer\n(C\x02abcnumpy\ndtype\nX\x02\0\0\0u1\x85RK\x02\x85X\x01\0\0\0CtR";

#[test]
fn pickles_that_say_a_thing_many_times_do_not_multiply_it() {
    // 20,000 copies of a tuple of 20,000: ten gigabytes, if they were copies.
    let tuple = [b"(".as_slice(), &b"N".repeat(20_000), b"tq\0"].concat();
    let copies = b"c__builtin__\ntuple\nh\0\x85R0".repeat(20_000);
    assert_eq!(read_all(&state(&[tuple.as_slice(), &copies].concat())), Ok(0));
    // A text of a megabyte as the name of 20,000 arrays.
    let name = [b"X\0\0\x10\0".as_slice(), &b"n".repeat(1 << 20), b"q\0"].concat();
    let program = [b"\x80\x02", name.as_slice(), ARRAY, b"q\x01}(", &b"h\0h\x01".repeat(20_000), b"u."].concat();
    assert_eq!(read_all(&program), Ok(0));
    // A shape of 65 dimensions.
    let shape = [b"(".as_slice(), &b"K\x01".repeat(65), b"t"].concat();
    let at = ARRAY.windows(3).position(|window| window == b"K\x02\x85").unwrap();
    let deep = [&ARRAY[..at], &shape, &ARRAY[at + 3..]].concat();
    assert!(read_all(&state(&deep)).unwrap_err().ends_with("FromBuffer with arguments it cannot have"));
    assert_eq!(read_all(&state(ARRAY)), Ok(1));
}

#[test]
fn a_split_array_has_each_part_once() {
    let text = |text: &str| [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat();
    // A dictionary with `names` for one array, and a table that joins those to an array of 2 * names.
    let file = |names: &[&str], parts: &[&str]| {
        let arrays: Vec<u8> = names.iter().flat_map(|name| [text(name), b"h\x01".to_vec()].concat()).collect();
        let slices: Vec<u8> = parts.iter().flat_map(|part| text(part)).collect();
        let shape = [b"K".as_slice(), &[2 * parts.len() as u8], b"\x85"].concat();
        let plan = [&text("OriginShape")[..], &shape, &text("slices"), b"(", &slices, b"l"].concat();
        let table = [&text("UnpackBigParamInfor@@")[..], b"}(", &text("w"), b"}(", &plan, b"uu"].concat();
        [b"\x80\x02", ARRAY, b"q\x010}(", &arrays, &table, b"u."].concat()
    };
    assert_eq!(read_all(&file(&["a", "b"], &["a", "b"])), Ok(1));
    let message = read_all(&file(&["a", "b"], &["a", "a"])).unwrap_err();
    assert_eq!(message, "is damaged: a part of the split array `w` is named twice");
    let names: Vec<String> = (0..120).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(read_all(&file(&names, &names)), Ok(1));
}

#[test]
fn a_shape_that_the_file_cannot_hold_is_refused() {
    let mut state = fixture("plain4.pdparams");
    // The shape (3, 2) of the first array: BININT1 3, BININT1 2, TUPLE2.
    let at = state.windows(5).position(|window| window == b"K\x03K\x02\x86").unwrap();
    state[at + 1] = 200;
    assert_eq!(
        read_all(&state).unwrap_err(),
        "is damaged: the array `embed.weight`: its shape [200, 2] asks for 400 elements, its storage holds 6"
    );
}

/// Instructions and the names that they may use: strung together they go deeper than random bytes do.
const FRAGMENTS: [&[u8]; 44] = [
    b"(",
    b"0",
    b"1",
    b"2",
    b"N",
    b"\x88",
    b"]",
    b"}",
    b")",
    b"\x85",
    b"\x86",
    b"\x87",
    b"t",
    b"l",
    b"d",
    b"a",
    b"e",
    b"s",
    b"u",
    b"\x94",
    b"h\x00",
    b"h\x01",
    b"q\x00",
    b"R",
    b"b",
    b"Q",
    b".",
    b"\x93",
    b"K\x00",
    b"K\x02",
    b"J\xff\xff\xff\xff",
    b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"C\x04\x00\x00\x80\x3f",
    b"\x8c\x02f4",
    b"\x8c\x01<",
    b"\x8c\x06latin1",
    b"\x8c\x07storage",
    b"cnumpy\nndarray\n",
    b"cnumpy\ndtype\n",
    b"cnumpy.core.multiarray\n_reconstruct\n",
    b"c_codecs\nencode\n",
    b"ctorch\nFloatStorage\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n",
    b"ccollections\nOrderedDict\n",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_do_not_panic(
        start in prop::sample::select(
            vec![
                b"".as_slice(), b"\x80\x02", b"\x80\x04\x95", b"PK\x03\x04", b"\x40\0\0\0\0\0\0\0{", &[0; 4], &[0; 16],
            ],
        ),
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let _ = read_all(&[start, &bytes].concat());
    }

    #[test]
    fn random_programs_do_not_panic(program in prop::collection::vec(prop::sample::select(FRAGMENTS.to_vec()), 0..60)) {
        let _ = read_all(&[b"\x80\x04", program.concat().as_slice(), b"."].concat());
    }

    #[test]
    fn changed_files_do_not_panic(
        name in prop::sample::select([&FIXTURES[..], &VARIABLES].concat()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = fixture(name);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = read_all(&bytes);
    }
}
