#!/bin/sh
# Every command and option that the program knows stands in the man pages and in the completions of each shell.
# usage: documented.sh UTTER DOCS COMPLETIONS
utter=$1 docs=$2 completions=$3
n_missing=0

# The names that a list of commands begins its lines with.
names() { sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p'; }

look() { # what pattern file...: the pattern stands in each file
    what=$1 pattern=$2
    shift 2
    for file; do
        grep -q -e "$pattern" "$file" && continue
        echo "$file does not know $what"
        n_missing=$((n_missing + 1))
    done
}

look_at_options() { # the command's words
    page=$docs/utter-$1.1.scd
    [ -f "$page" ] || page=$docs/utter-plumbing.1.scd
    options=$($utter "$@" --help | sed -n 's/^  \(-., \)\{0,1\} *--\([a-z0-9-]*\).*/\2/p')
    [ "$options" ] || { echo "utter $* --help names no options"; n_missing=$((n_missing + 1)); }
    for option in $options; do
        look "--$option of utter $*" "\*--$option\*" "$page"
        look "--$option of utter $*" "--$option\>" $completions/utter.bash $completions/_utter
        look "--$option of utter $*" "-l $option\>" $completions/utter.fish
    done
}

commands=$($utter --help | names)
[ "$commands" ] || exit 1
for command in $commands; do
    look "utter $command" "\<$command\>" $docs/utter.1.scd $completions/*
    case $command in
        voices | models | codec | queue)
            for verb in $($utter $command --help | names); do
                look "utter $command $verb" "\<$verb\>" $completions/*
                look_at_options $command $verb
            done
            ;;
        *) look_at_options $command ;;
    esac
done
exit $n_missing
