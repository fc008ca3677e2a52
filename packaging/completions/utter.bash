# bash completion for utter

_utter() {
    local word=$2 before=$3 i command= verb=
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
            -*) ;;
            *)
                if [[ -z $command ]]; then command=${COMP_WORDS[i]}; else verb=${COMP_WORDS[i]}; break; fi
                ;;
        esac
    done

    local words= files=
    local device="--threads --kernels --device" sampling="--seed --temperature --top-k --top-p --min-p"
    case $before in
        --log) words="text json off" ;;
        --kernels) words="auto portable avx2 avxvnni avx512 avx512vnni amx neon dotprod i8mm" ;;
        --device) words="auto cpu gpu" ;;
        --type) words="f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1" ;;
        --format) words="wav flac mp3 opus ogg aac pcm npy" ;;
        --lang) words="en-us en-gb de fr-fr es" ;;
        --voice) words=$(utter voices list 2>/dev/null | cut -d' ' -f1) ;;
        --unix | --keys | --tls-cert | --tls-key | --config | --output-folder | --cover | --voices) files=1 ;;
        --host | --wyoming-address | --port | -p | --new-key | --proxies | --cors | --places | --queue | --characters | --deadline | --rate | --at-once | --connections | --drain) return ;;
        --model | -m | --codec | --voice-file | --text | --encoder | --semantic | --file | -f | --output | -o | --tokens | --trace) files=1 ;;
        --transcript | --name | --title | --author | --loudness | --streams | --redis | --idle | --note | --seed | --temperature | --top-k | --top-p | --min-p | --retries | --first-frames | --speed | --threads | --emotion | --count | -n | --reference | --server | --concurrency | --requests | --key | --timeout) return ;;
        *)
            case $command in
                '') words="say read voices models serve submit worker queue doctor bench profile sentences normalize phonemes tokens logits generate codec help --help --version" ;;
                help) words="say read voices models serve submit worker queue doctor bench profile sentences normalize phonemes tokens logits generate codec" ;;
                say) words="--output --format --file --speed --voice --voice-file --voices --lang --emotion --raw --stream --first-frames $sampling
                    --retries --model --codec $device --json --verbose --quiet --help" ;;
                read) words="--output --format --list --voice --voice-file --voices --lang --title --author --cover --speed --loudness --restart --streams $sampling
                    --retries --model --codec $device --json --verbose --quiet --help" files=1 ;;
                submit) words="--redis --output --format --voice --voice-file --voices --lang --title --author --cover --speed --loudness --restart $sampling
                    --retries --model --codec --json --verbose --quiet --help" files=1 ;;
                worker) words="--redis --name --streams --idle --voice-file --voices --model --codec $device --verbose --quiet --help" ;;
                queue) words="--redis --json --yes --quiet --help"; [[ $verb ]] || words="status retry purge --help" ;;
                voices)
                    case $verb in
                        '') words="list add show preview remove --help" ;;
                        list) words="--model --codec --voices --voice-file --json --help" ;;
                        preview) words="--output --voices --model --codec $device --help" ;;
                        add) words="--text --transcript --name --lang --note --encoder --codec --output --sha256 --replace --threads
                            --help" files=1 ;;
                        show) words="--json --help" files=1 ;;
                        remove) words="--help" ;;
                    esac
                    ;;
                models)
                    case $verb in
                        '') words="list suggest pull remove verify path info convert quantize --help" ;;
                        pull)
                            words="--encoder --accept-licence --type --quiet --help $(utter models list 2>/dev/null |
                                sed -n '/pull NAME/,$ s/^\(neu[a-z0-9-]*\).*/\1/p')" ;;
                        remove | verify | path)
                            words="--quiet --help $(utter models list 2>/dev/null |
                                sed -n '/^pulled:/,/^$/ s/^\([A-Za-z0-9._\/-]*\) .*/\1/p')"
                            [[ $verb = path ]] && words="${words/--quiet/--codec}" ;;
                        suggest) words="$device --json --help" ;;
                        convert) words="--type --encoder --semantic --help" files=1 ;;
                        quantize) words="--type --help" files=1 ;;
                        *) words="--json --help" files=1 ;;
                    esac
                    ;;
                serve) words="--voices --host --port --unix --no-tcp --keys --new-key --allow-anyone --tls-cert --tls-key --proxies --cors --config
                    --output-folder --play --wyoming --wyoming-address --encoder --places --queue --characters --deadline --rate --at-once --connections
                    --drain --first-frames --log --model --codec $device --help" ;;
                doctor) words="--model --codec --quick $device --json --help" ;;
                bench) words="--model --codec --voice --text --quick --capacity --server --concurrency --requests --key
                    --timeout --ready $device --json --help" ;;
                profile) words="--output --stream --cold --trace --voice --seed --model --codec $device --json --help" ;;
                sentences) words="--lang --raw --json --help" ;;
                normalize) words="--lang --help" ;;
                phonemes) words="--lang --raw --help" ;;
                tokens) words="--model --help" ;;
                logits) words="--model --tokens --output $device --help" ;;
                generate) words="--model --tokens --count --greedy $sampling --through-end --output $device --json --help" ;;
                codec) words="--output --codec --stream --reference $device --help" files=1; [[ $verb ]] || words="decode --help" files= ;;
            esac
            ;;
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word"))
    if [[ $files && $word != -* ]]; then
        compopt -o filenames 2>/dev/null
        COMPREPLY+=($(compgen -f -- "$word"))
    fi
}
complete -F _utter utter
