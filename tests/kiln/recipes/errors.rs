//! Messages: each names the place and what would be right.

use kiln::recipe::{ChunkCounting, SelectOn};

use super::{Folder, GOOD, one_problem, problems};

#[test]
fn the_sound_recipe_is_sound() {
    assert!(Folder::new(&[("r.toml", GOOD)]).load("r.toml", &[]).is_ok());
}

#[test]
fn typo_in_a_key() {
    assert_eq!(
        one_problem("[training]", "bach_size = 8"),
        "r.toml:12:1: unknown key `bach_size` in [training] (did you mean `batch_size`?)"
    );
}

#[test]
fn typo_in_a_required_key_is_one_problem() {
    let text = GOOD.replace("dataset =", "datset =");
    assert_eq!(problems(&text, &[]), ["r.toml:9:1: unknown key `datset` in [data] (did you mean `dataset`?)"]);
}

#[test]
fn typo_in_a_section_is_one_problem() {
    let text = GOOD.replace("[output]", "[outptu]");
    assert_eq!(problems(&text, &[]), ["r.toml:14:2: unknown section [outptu] (did you mean [output]?)"]);
}

#[test]
fn key_in_the_wrong_section() {
    assert_eq!(
        one_problem("[training]", "learning_rate = 1e-4"),
        "r.toml:12:1: unknown key `learning_rate` in [training] (`learning_rate` belongs in [optimizer])"
    );
    assert_eq!(
        one_problem("[model]", "hidden_size = 64"),
        "r.toml:2:1: unknown key `hidden_size` in [model] (`hidden_size` belongs in [model.config])"
    );
}

#[test]
fn required_key_in_the_wrong_section_is_one_problem() {
    let text =
        GOOD.replace("architecture = \"ernie-m\"\n", "").replace("[output]", "[output]\narchitecture = \"ernie-m\"");
    assert_eq!(
        problems(&text, &[]),
        ["r.toml:14:1: unknown key `architecture` in [output] (`architecture` belongs in [model])"]
    );
}

#[test]
fn key_outside_of_any_section() {
    assert_eq!(
        problems(&format!("seed = 1\n{GOOD}"), &[]),
        ["r.toml:1:1: unknown key `seed` outside of any section (`seed` belongs in [corpus] or [training])"]
    );
}

#[test]
fn flags_of_the_original_scripts_lead_to_their_keys() {
    assert_eq!(
        one_problem("[optimizer]", "warmup_proportion = 0.1"),
        "r.toml:18:1: unknown key `warmup_proportion` in [optimizer] (did you mean `warmup_ratio` in [schedule]?)"
    );
}

#[test]
fn unknown_key_like_no_other() {
    assert_eq!(
        one_problem("[checkpoint]", "compression = true"),
        "r.toml:18:1: unknown key `compression` in [checkpoint] ([checkpoint] has every_steps, keep_last)"
    );
}

#[test]
fn typo_in_a_word() {
    assert_eq!(
        one_problem("[schedule]", "name = \"linaer\""),
        "r.toml:18:8: `schedule.name` cannot be \"linaer\" (did you mean \"linear\"? It is one of \"linear\", \
         \"linear-min\", \"cosine\", \"constant\")"
    );
}

#[test]
fn wrong_types() {
    for (header, line, expected) in [
        (
            "[optimizer]",
            "learning_rate = \"5e-5\"",
            "must be a number, but is the text \"5e-5\" (write it without quotes: 5e-5)",
        ),
        ("[training]", "batch_size = 16.0", "must be a whole number, but is the number 16.0 (write 16)"),
        (
            "[device]",
            "devices = 1",
            "must be a list, each item a whole number, but is the whole number 1 (write it in brackets: [...])",
        ),
        ("[model]", "config = 3", "must be a table, but is the whole number 3"),
        ("[data]", "cache = 2024-01-01", "must be a text, but is the date 2024-01-01 (write it in quotes, as a text)"),
        (
            "[data]",
            "group_by_length = \"true\"",
            "must be true or false, but is the text \"true\" (write it without quotes: true)",
        ),
    ] {
        let problem = one_problem(header, line);
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn out_of_range() {
    for (header, line, expected) in [
        (
            "[optimizer]",
            "layerwise_decay = 1.5",
            ": `optimizer.layerwise_decay` is the number 1.5, but must be at most 1",
        ),
        ("[optimizer]", "layerwise_decay = 0", "but must be above 0"),
        ("[optimizer]", "betas = [0.9, 1.0]", ": item 2 of `optimizer.betas` is the number 1.0, but must be below 1"),
        ("[optimizer]", "betas = [0.9]", ": `optimizer.betas` has 1 items, but must have exactly 2"),
        ("[optimizer]", "learning_rate = inf", "but must be a finite number"),
        ("[data]", "max_seq_length = 7", "but must be at least 8"),
        ("[data]", "train_languages = []", "has 0 items, but must have at least 1"),
        ("[data]", "cache = \"\"", "but must not be empty"),
        ("[training]", "seed = -1", "but must be at least 0"),
        ("[training]", "seed = 99999999999999999999", ": the number is too large"),
    ] {
        let problem = one_problem(header, line);
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn rules_between_keys() {
    for (header, line, expected) in [
        ("[training]", "max_steps = 10", "r.toml:13:1: both `training.epochs` and `training.max_steps` are given"),
        ("[training]", "global_batch_size = 33", "33 is no multiple of `training.batch_size`"),
        (
            "[training]",
            "global_batch_size = 64\ngradient_accumulation_steps = 2",
            "are both given (give one of the two",
        ),
        ("[schedule]", "min_learning_rate = 1e-5", "has no effect with the schedule \"linear\""),
        ("[schedule]", "name = \"cosine\"\nmin_learning_rate = 1e-3", "0.001 is above `optimizer.learning_rate` 5e-5"),
        ("[schedule]", "decay_steps = 5", "has no effect with the schedule \"linear\""),
        (
            "[schedule]",
            "name = \"cosine\"\ndecay_steps = 5\nwarmup_steps = 6",
            "is 6, more than `schedule.decay_steps` 5",
        ),
        ("[model]", "config = { hidden_size = 10, num_attention_heads = 3 }", "`hidden_size` 10 cannot be divided"),
        ("[model]", "config.max_position_embeddings = 66", "is 256, but 66 position embeddings hold only 64 tokens"),
        (
            "[device]",
            "backend = \"flex\"\ndevices = [1]",
            "`device.devices` is [1], but \"flex\" has only the device 0",
        ),
        ("[device]", "devices = [0, 1, 0]", "names the device 0 twice"),
        ("[model]", "typed_specials = \"paddlenlp\"", "has no effect with the architecture \"ernie-m\""),
        ("[model]", "config.input_embedding_size = 8", "has no effect with the architecture \"ernie-m\""),
        ("[model]", "pair_encoding = \"apart\"", "it is for \"rembert\""),
        ("[optimizer]", "l2 = 0.1", ": `optimizer.l2` has no effect with the optimizer \"adamw\""),
        ("[optimizer]", "name = \"adam\"\nweight_decay = 0.1", "has no effect with the optimizer \"adam\""),
        ("[optimizer]", "name = \"sgd\"\nbetas = [0.8, 0.9]", "r.toml:19:9: `optimizer.betas` has no effect with"),
        (
            "[optimizer]",
            "rho = 0.9",
            "`optimizer.rho` has no effect with the optimizer \"adamw\" (leave it out: it is for",
        ),
        ("[optimizer]", "epsilon = 0", "`optimizer.epsilon` is 0: an update would divide by 0"),
        ("[optimizer]", "name = \"adagrad\"\nepsilon = 0.0", "`optimizer.epsilon` is 0: an update would divide by 0"),
        ("[optimizer]", "clip_by = \"tensor-norm\"", "has no effect without `optimizer.max_grad_norm`"),
        (
            "[task]",
            "label_all_pieces = true",
            "`task.label_all_pieces` has no effect with the task \"sequence-classification\"",
        ),
        ("[task]", "chunk_counting = \"conll\"", "it is for \"token-classification\""),
        ("[evaluation]", "select_on = \"test.f1\"", "is \"test.f1\", but \"sequence-classification\" has no F1"),
        ("[evaluation]", "select_on = \"dev.exact_match\"", "\"sequence-classification\" has no exact match"),
        ("[evaluation]", "select_on = \"dev.rouge_l\"", "\"sequence-classification\" has no Rouge-L"),
        ("[task]", "doc_stride = 64", "it is for \"question-answering\""),
    ] {
        let problem = one_problem(header, line);
        assert!(problem.contains(expected), "{problem}");
    }
}

/// Defaults that are the task's, and that a recipe's own words go before.
#[test]
fn token_classification_has_its_own_defaults() {
    let text = GOOD.replace("sequence-classification", "token-classification");
    let folder = Folder::new(&[("r.toml", &text)]);
    let recipe = folder.load("r.toml", &[]).unwrap().recipe;
    assert_eq!((recipe.task.label_all_pieces, recipe.task.chunk_counting), (Some(false), Some(ChunkCounting::Conll)));
    assert_eq!(recipe.evaluation.select_on, SelectOn::DevF1);
    let own =
        folder.load("r.toml", &["evaluation.select_on=dev.accuracy", "task.chunk_counting=paddle"]).unwrap().recipe;
    assert_eq!(
        (own.evaluation.select_on, own.task.chunk_counting),
        (SelectOn::DevAccuracy, Some(ChunkCounting::Paddle))
    );
    let texts = Folder::new(&[("r.toml", GOOD)]).load("r.toml", &[]).unwrap();
    assert_eq!((texts.recipe.task.label_all_pieces, texts.recipe.evaluation.select_on), (None, SelectOn::DevAccuracy));
    assert!(!texts.resolved_toml().contains("label_all_pieces"));
}

#[test]
fn question_answering_has_its_own_defaults_and_rules() {
    let text = GOOD.replace("sequence-classification", "question-answering");
    let folder = Folder::new(&[("r.toml", &text)]);
    let recipe = folder.load("r.toml", &[]).unwrap().recipe;
    assert_eq!((recipe.task.doc_stride, recipe.task.n_best_size), (Some(128), Some(20)));
    assert_eq!(recipe.evaluation.select_on, SelectOn::DevF1);
    let error = folder.load("r.toml", &["task.doc_stride=200"]).map(|loaded| loaded.recipe).unwrap_err();
    assert!(error.to_string().contains("have no room for 64 of a question, 4 special ones and 200"), "{error}");
}

#[test]
fn an_empty_recipe_lacks_what_every_recipe_needs() {
    assert_eq!(
        problems("", &[]),
        [
            "r.toml: `model.architecture` is missing (give `architecture` in [model]: one of \"ernie-m\", \"ernie\", \"rembert\", \"bert\", \
             \"xlm-roberta\", \"elmo\")",
            "r.toml: `task.name` is missing (give `name` in [task]: one of \"sequence-classification\", \
             \"multi-label-classification\", \"regression\", \"token-classification\", \"question-answering\", \"masked-lm\", \"translation-masked-lm\", \
             \"cross-attention-masked-lm\", \"back-translation-masked-lm\", \"pre-training\", \"bidirectional-lm\")",
            "r.toml: `output.dir` is missing (give it in [output], for example `dir = \"runs/my-run\"`)",
            "r.toml: neither `training.epochs` nor `training.max_steps` is given (give exactly one of `epochs` and \
             `max_steps` in [training])",
            "r.toml: there is no tokenizer: neither `model.tokenizer` nor `model.weights` is given (give the folder that \
             holds the tokenizer's files as `tokenizer` in [model])",
        ]
    );
}

#[test]
fn every_problem_at_once_in_the_order_of_the_text() {
    let text = "[training]\nmax_steps = 1e3\nbach_size = 2\nepochs = 2\n\n[model]\narchitecture = \"gpt\"\r\n\
                tokenizer = \"t\"\n[data]\ndataset = \"xnli\"\nmäx = 1\n[output]\ndir = \"runs/x\"\n";
    let text = text.replace("mäx", "\"mäx\"");
    let places: Vec<_> = problems(&text, &["optimizer.lr=1", "data.root=3"])
        .iter()
        .map(|problem| problem.split(": ").next().unwrap_or_default().to_string())
        .collect();
    assert_eq!(
        places,
        ["r.toml:2:13", "r.toml:3:1", "r.toml:4:1", "r.toml:7:16", "r.toml:11:1", "argument 1", "argument 2", "r.toml"]
    );
}

#[test]
fn arguments() {
    assert_eq!(
        problems(GOOD, &["optimizer.learing_rate=1", "learning_rate=1", "output.dir=42", "device.backend=cdua"]),
        [
            "argument 1: `optimizer.learing_rate=1`: unknown key `learing_rate` in [optimizer] (did you mean \
             `optimizer.learning_rate`?)",
            "argument 2: `learning_rate=1`: unknown key `learning_rate` outside of any section (did you mean \
             `optimizer.learning_rate`?)",
            "argument 3: `output.dir=42`: `output.dir` must be a text, but is the whole number 42 (write it in quotes that \
             the shell leaves alone: 'output.dir=\"42\"')",
            "argument 4: `device.backend=cdua`: `device.backend` cannot be \"cdua\" (did you mean \"cuda\"? It is one of \
             \"auto\", \"flex\", \"ndarray\", \"wgpu\", \"vulkan\", \"metal\", \"cuda\", \"rocm\")",
        ]
    );
    assert_eq!(
        problems(GOOD, &["train", "..=1", "data.root=", "data.root='x", "extends=a"]),
        [
            "argument 1: `train`: is not of the form key=value (for example `optimizer.learning_rate=2e-5`)",
            "argument 2: `..=1`: what stands before `=` is not a recipe path (for example `optimizer.learning_rate=2e-5`)",
            "argument 3: `data.root=`: there is no value after `=`",
            "argument 4: `data.root='x`: the value is not valid TOML: invalid literal string, expected `'`",
            "argument 5: `extends=a`: `extends` can only stand in a recipe file",
        ]
    );
}

#[test]
fn every_syntax_error_has_its_place() {
    assert_eq!(
        problems("[model\n[task]\nx = \"a\n[data]\na = 1\na = 2\n", &[]),
        [
            "r.toml:1:7: not valid TOML: unclosed table, expected `]`",
            "r.toml:3:7: not valid TOML: invalid basic string, expected `\"`",
            "r.toml:6:1: not valid TOML: duplicate key",
        ]
    );
}

/// A recipe that pre-trains on corpora.
const HIDING: &str = r#"[model]
architecture = "ernie"
tokenizer = "models/base"

[task]
name = "pre-training"

[pretraining]
corpora = ["data/corpus"]
split = "9,1"
eval_iters = 2

[training]
max_steps = 3

[output]
dir = "runs/test"
"#;

#[test]
fn pre_training_learns_from_corpora_or_from_rows() {
    let is_sound = |arguments: &[&str]| Folder::new(&[("r.toml", HIDING)]).load("r.toml", arguments).is_ok();
    assert!(is_sound(&[]));
    let both = HIDING.replace("split =", "rows = [\"list\"]\nsplit =");
    assert_eq!(
        problems(&both, &[]),
        [
            "r.toml:10:1: both `pretraining.corpora` and `pretraining.rows` are given (give exactly one of `corpora` and `rows` in \
          [pretraining])"
        ]
    );
    let neither = HIDING.replace("corpora = [\"data/corpus\"]\n", "");
    let [problem] = &problems(&neither, &[])[..] else { panic!("one problem") };
    assert!(
        problem.contains("neither `pretraining.corpora` nor `pretraining.rows` is given (give exactly one"),
        "{problem}"
    );
    assert_eq!(
        problems(&HIDING.replace("corpora", "corporas"), &[]),
        ["r.toml:9:1: unknown key `corporas` in [pretraining] (did you mean `corpora`?)"]
    );
    // Rows given on the command line take the corpora's place, and that of all that is said of them.
    assert!(is_sound(&["pretraining.rows=[\"list\"]", "pretraining.dev_rows=[\"list\"]"]));
}

/// Tasks on translations are ERNIE-M's.
#[test]
fn tasks_on_translations_are_of_one_family() {
    for task in ["translation-masked-lm", "cross-attention-masked-lm", "back-translation-masked-lm"] {
        let found = problems(&HIDING.replace("pre-training", task), &[]);
        let said = format!("\"{task}\" cannot be trained with the architecture \"ernie\"");
        assert!(found.len() == 1 && found[0].contains(&said), "{found:?}");
    }
}

#[test]
fn keys_without_an_effect_on_the_data_are_named() {
    let of = |key: &str, arguments: &[&str]| {
        let arguments = [arguments, &[key]].concat();
        let Err(error) = Folder::new(&[("r.toml", HIDING)]).load("r.toml", &arguments) else { return Vec::new() };
        error.problems().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for key in ["data.protocol=translate-train-all", "data.root=x", "data.cache=x", "data.group_by_length=true"] {
        let name = key.split('=').next().unwrap();
        assert_eq!(of(key, &[]), [format!("argument 1: `{key}`: `{name}` has no effect on samples for pre-training")]);
    }
    let corpora = ["data.max_train_rows=1", "data.bad_rows=skip", "pretraining.dev_rows=[\"x\"]"];
    for key in corpora {
        assert!(of(key, &[])[0].contains("has no effect on samples of `pretraining.corpora`"), "{key}");
    }
    let rows = ["pretraining.rows=[\"list\"]"];
    for key in &corpora[..2] {
        assert_eq!(of(key, &rows), [""; 0]);
    }
    for key in ["pretraining.split='1'", "pretraining.eval_iters=3", "pretraining.max_ngrams=1"] {
        assert!(of(key, &rows)[0].contains("has no effect on `pretraining.rows`"), "{key}");
    }
    for key in ["evaluation.test=true", "evaluation.select_on=test.loss"] {
        assert!(of(key, &rows)[0].contains("no test part"), "{key}");
        assert_eq!(of(key, &[]), [""; 0]);
    }
}

/// What has no effect is not written out either: the resolved form would be refused.
#[test]
fn the_resolved_form_has_no_key_without_effect() {
    let folder = Folder::new(&[("r.toml", HIDING)]);
    for (arguments, gone, kept) in [
        (&[][..], ["protocol", "dev_rows", "max_eval_rows"], ["split", "eval_iters", "max_seq_length"]),
        (
            &["pretraining.rows=[\"list\"]"][..],
            ["protocol", "split", "masking"],
            ["rows", "masked_lm_prob", "bad_rows"],
        ),
    ] {
        let loaded = folder.load("r.toml", arguments).unwrap();
        let again = Folder::new(&[("r.toml", &loaded.resolved_toml())]);
        assert_eq!(again.load("r.toml", &[]).unwrap().recipe, loaded.recipe);
        let shown = loaded.show(false);
        let has = |key: &str| shown.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} =")));
        assert!(gone.iter().all(|key| !has(key)) && kept.iter().all(|key| has(key)), "{shown}");
    }
}
