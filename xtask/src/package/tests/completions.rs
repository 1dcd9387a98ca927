//! The completions, in the shells themselves.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use super::super::list::packaging;
use super::{commands, options_of, require_programs, said, verbs_of};

/// Where bash's helpers for completions are.
const BASH_COMPLETION: &str = "/usr/share/bash-completion/bash_completion";

/// Loads a completion, then prints what it offers for the words after the file.
const BASH: &str = r#"
source "$1"; source "$2"; shift 2
set -- "$@"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p "$1"); function=${function#*-F }; function=${function%% *}
"$function" "$1" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\n' "${COMPREPLY[@]}"
"#;

/// Types the line into an interactive zsh and notes what is offered.
const ZSH: &str = r#"
zmodload zsh/zpty
cat > $ZDOTDIR/.zshrc <<'END'
PROMPT=''; fpath=($COMPLETIONS $fpath)
autoload -Uz compinit; compinit -u -D
compadd() {
  [[ " ${@[1,(i)(-|--)]} " == *\ -(O|A|D)\ * ]] && { builtin compadd "$@"; return }
  local -a offered; builtin compadd -A offered "$@"; builtin compadd "$@"
  local code=$?; (( $#offered )) && print -rl -- $offered >> $ZDOTDIR/offered; return code
}
noted() { print >> $ZDOTDIR/done }
look() { comppostfuncs=(noted); zle list-choices }
zle -N look; bindkey '^X' look
print >> $ZDOTDIR/ready
END
wait_for() { repeat 400; do [[ -e $ZDOTDIR/$1 ]] && return; sleep 0.05; done; print -u2 "no $1"; exit 1 }
zpty shell zsh -d -i
wait_for ready
zpty -w -n shell "$1"$'\x18'
wait_for done
zpty -d shell
[[ ! -e $ZDOTDIR/offered ]] || cat $ZDOTDIR/offered
"#;

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// What the shell says in a home of its own, where names of VMs were noted that would be commands.
fn offered_in_home(command: &mut Command) -> BTreeSet<String> {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join(".local/state/qfilexchg");
    std::fs::create_dir_all(&state).unwrap();
    let names = "vault\nvx$(touch taken)\nv`touch taken`\nv;touch taken\n-v\nwork\n";
    std::fs::write(state.join("recent-vms"), names).unwrap();
    command.env("HOME", home.path()).env("ZDOTDIR", home.path()).env_remove("XDG_STATE_HOME");
    let offered = lines(&said(command.current_dir(home.path())));
    assert!(!home.path().join("taken").exists(), "a name was taken for a command");
    offered
}

fn bash(program: &str, words: &[&str]) -> BTreeSet<String> {
    let file = packaging("completions/bash").join(program);
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", BASH, "bash", BASH_COMPLETION]).arg(file).arg(program).args(words);
    offered_in_home(&mut command)
}

fn zsh(program: &str, words: &[&str]) -> BTreeSet<String> {
    let mut command = Command::new("zsh");
    command.args(["-f", "-c", ZSH, "zsh"]).arg([&[program], words].concat().join(" "));
    command.env("TERM", "dumb").env("COMPLETIONS", packaging("completions/zsh"));
    // An option that takes its value behind "=" is offered with it.
    offered_in_home(&mut command).iter().map(|word| word.trim_end_matches('=').to_owned()).collect()
}

fn fish(program: &str, words: &[&str]) -> BTreeSet<String> {
    let file = packaging("completions/fish").join(format!("{program}.fish"));
    let line = [&[program], words].concat().join(" ");
    let mut command = Command::new("fish");
    command.args(["--no-config", "-c", "source $argv[1]; complete -C $argv[2]"]).arg(file).arg(line);
    // Behind a tab stands what the word means.
    offered_in_home(&mut command).iter().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

/// What a shell offers for `program words…`.
type Shell = fn(&str, &[&str]) -> BTreeSet<String>;

fn check(shell: Shell) {
    for program in commands() {
        let mut offered = BTreeSet::new();
        for verb in verbs_of(&program) {
            offered.extend(shell(&program, &[verb, &["--"]].concat()));
        }
        // Operands may be offered beside the options.
        offered.retain(|word| word.starts_with("--") && word.len() > 2);
        assert_eq!(offered, options_of(&program), "{program}: what is offered, and its --help");
    }
    let requests = ["killme", "new", "send", "umount"].map(str::to_owned);
    let offered = shell("qubes_penctl", &[""]);
    assert!(requests.iter().all(|request| offered.contains(request)), "{offered:?}");
    let offered = shell("qubes_penctl", &["send", "d"]);
    assert!(offered.contains("disposable"), "{offered:?}");
    let offered = shell("qfilexchgctl", &["p"]);
    assert!(offered.contains("policy"), "{offered:?}");
    let offered = shell("qvm-copy-to-vm", &["v"]);
    assert_eq!(offered, BTreeSet::from(["vault".to_owned()]), "VMs that were sent to last");
    let offered = shell("qfilexchgd", &["--dialog", ""]);
    assert_eq!(offered, BTreeSet::from(["control", "none", "terminal", "window"].map(str::to_owned)));
}

#[test]
fn bash_completes_what_the_programs_take() {
    if !Path::new(BASH_COMPLETION).exists() {
        return testkit::skip("not installed: bash-completion");
    }
    if testkit::require_tools(&["bash"]) && require_programs() {
        check(bash);
    }
}

#[test]
fn zsh_completes_what_the_programs_take() {
    if testkit::require_tools(&["zsh"]) && require_programs() {
        check(zsh);
    }
}

#[test]
fn fish_completes_what_the_programs_take() {
    if testkit::require_tools(&["fish"]) && require_programs() {
        check(fish);
    }
}
