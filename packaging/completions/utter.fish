# fish completion for utter

set -l commands say read submit worker queue voices models serve doctor bench profile sentences normalize phonemes tokens logits generate codec help
set -l no_command "not __fish_seen_subcommand_from $commands"

complete -c utter -f
complete -c utter -n "$no_command" -l version -d "print the version"
complete -c utter -s h -l help -d "show help"
complete -c utter -n "$no_command" -a say -d "speak a text"
complete -c utter -n "$no_command" -a read -d "read a book aloud"
complete -c utter -n "$no_command" -a submit -d "read a book aloud with workers"
complete -c utter -n "$no_command" -a worker -d "speak for those who submit"
complete -c utter -n "$no_command" -a queue -d "look after the queue"
complete -c utter -n "$no_command" -a voices -d "list and make voices"
complete -c utter -n "$no_command" -a models -d "list, fetch, describe and convert models"
complete -c utter -n "$no_command" -a serve -d "serve speech over HTTP"
complete -c utter -n "$no_command" -a doctor -d "see whether speech works here"
complete -c utter -n "$no_command" -a bench -d "measure how fast it speaks"
complete -c utter -n "$no_command" -a profile -d "see where the time goes"
complete -c utter -n "$no_command" -a sentences -d "split a text into sentences"
complete -c utter -n "$no_command" -a normalize -d "write a text out as it is spoken"
complete -c utter -n "$no_command" -a phonemes -d "turn a text into phonemes"
complete -c utter -n "$no_command" -a tokens -d "turn a text into token ids"
complete -c utter -n "$no_command" -a logits -d "run a backbone over token ids"
complete -c utter -n "$no_command" -a generate -d "continue a list of token ids"
complete -c utter -n "$no_command" -a codec -d "turn speech codes into sound"
complete -c utter -n "$no_command" -a help -d "explain a command"

complete -c utter -n "__fish_seen_subcommand_from voices; and not __fish_seen_subcommand_from list add show preview remove" -a "list add show preview remove"
complete -c utter -n "__fish_seen_subcommand_from models; and not __fish_seen_subcommand_from list suggest pull remove verify path info convert quantize" -a "list suggest pull remove verify path info convert quantize"
complete -c utter -n "__fish_seen_subcommand_from queue; and not __fish_seen_subcommand_from status retry purge" -a "status retry purge"
complete -c utter -n "__fish_seen_subcommand_from codec; and not __fish_seen_subcommand_from decode" -a decode
complete -c utter -n "__fish_seen_subcommand_from read submit list info convert quantize decode add show" -F

# The options, each for the commands that know it.
function __utter_option
    set -l commands $argv[1]
    complete -c utter -n "__fish_seen_subcommand_from $commands" $argv[2..-1]
end
__utter_option "say read add logits generate decode submit" -s o -l output -r -F -d "file to write"
__utter_option "say" -s f -l file -r -F -d "text to read"
__utter_option "say read submit bench profile" -l voice -x -a "(utter voices list 2>/dev/null | string replace -r ' .*' '')" -d voice
__utter_option "say read voices submit worker" -l voice-file -r -F -d "voice to load"
__utter_option "add" -l text -r -F -d "file with the transcript"
__utter_option "add" -l transcript -x -d transcript
__utter_option "add" -l name -x -d "what the voice is called"
__utter_option "add" -l note -x -d "who it is"
__utter_option "add" -l sha256 -x -d "checksum of a voice from an address"
__utter_option "add" -l replace -d "overwrite a voice"
__utter_option "add serve" -l encoder -r -F -d encoder
__utter_option "convert" -l encoder -d "the encoder, for cloning"
__utter_option "convert" -l semantic -r -F -d "w2v-bert-2.0"
__utter_option "say read add sentences normalize phonemes submit" -l lang -x -a "en-us en-gb de fr-fr es" -d language
__utter_option "say" -l format -x -a "wav flac mp3 opus ogg aac pcm npy" -d "of the output"
__utter_option "say read submit" -l speed -x -d "2 is twice as fast"
__utter_option "say" -l emotion -x -d emotion
__utter_option "say sentences phonemes" -l raw -d "leave the text as it is"
__utter_option "say profile decode" -l stream -d "in pieces"
__utter_option "say serve" -l first-frames -x -d "frames of the first piece"
__utter_option "say read profile generate submit" -l seed -x -d "seed of the random choices"
__utter_option "say read generate submit" -l temperature -x -d "0 is greedy"
__utter_option "say read generate submit" -l top-k -x -d "of the K likeliest"
__utter_option "say read generate submit" -l top-p -x -d "of those that make up P"
__utter_option "say read generate submit" -l min-p -x -d "of those P times as likely as the first"
__utter_option "say read submit" -l retries -x -d "new attempts"
__utter_option "say read voices serve doctor bench profile tokens logits generate submit worker" -s m -l model -r -F -d backbone
__utter_option "say read voices serve doctor bench profile decode submit worker" -l codec -r -F -d codec
__utter_option "path" -l codec -d "where its codec is"
__utter_option "say read submit worker voices serve" -l voices -r -F -d "folder of voices"
__utter_option "pull" -l encoder -d "with the encoder"
__utter_option "pull" -l accept-licence -x -d "accept this licence"
__utter_option "pull remove verify" -s q -l quiet -d "say only what goes wrong"
__utter_option "say read add serve doctor bench profile logits generate decode worker" -l threads -x -d "threads of the CPU"
__utter_option "say read serve doctor bench profile logits generate decode worker" -l kernels -x -a "auto portable avx2 avxvnni avx512 avx512vnni amx neon dotprod i8mm" -d "kernel set"
__utter_option "say read serve doctor bench profile logits generate decode worker" -l device -x -a "auto cpu gpu" -d device
__utter_option "logits generate" -l tokens -r -F -d "token ids"
__utter_option "generate" -s n -l count -x -d "most tokens"
__utter_option "generate" -l greedy -d "always the likeliest"
__utter_option "generate" -l through-end -d "go on after the end"
__utter_option "decode" -l reference -x -d "codes of the reference"
__utter_option "convert quantize pull" -l type -x -a "f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q4_k q5_k q6_k" -d "type of matrices"
__utter_option "say read voices list show info doctor bench profile sentences generate submit queue" -l json -d "print JSON"
__utter_option "doctor" -l quick -d "no self-test, no measurements"
__utter_option "bench" -l quick -d "fewer runs"
__utter_option "say read submit worker" -s v -l verbose -d "say what is being done"
__utter_option "say read submit worker queue" -s q -l quiet -d "no progress and no warnings"
__utter_option "read submit" -l format -x -a "opus mp3 flac m4b wav" -d "of the files in a folder"
__utter_option "read" -l list -d "show the chapters"
__utter_option "read submit" -l title -x -d "instead of the own one"
__utter_option "read submit" -l author -x -d "instead of the own one"
__utter_option "read submit" -l cover -r -F -d "picture instead of the own one"
__utter_option "read submit" -l loudness -x -d "LUFS of each chapter"
__utter_option "read submit" -l restart -d "begin anew"
__utter_option "read worker" -l streams -x -d "sentences at once"
__utter_option "bench" -l text -x -d "what is spoken"
__utter_option "bench" -l capacity -d "how many listeners at once"
__utter_option "bench" -l server -x -d "measure a server"
__utter_option "bench" -l concurrency -x -d "requests at once"
__utter_option "bench" -l requests -x -d "requests of each"
__utter_option "bench" -l key -x -d "API key"
__utter_option "bench" -l timeout -x -d "seconds for a request"
__utter_option "bench" -l ready -d "only load"
__utter_option "profile" -l cold -d "do not speak it before"
__utter_option "profile" -l trace -r -F -d "write a Chrome trace"
__utter_option "serve" -l host -x -d "address to listen on"
__utter_option "serve" -s p -l port -x -d port
__utter_option "serve" -l unix -r -F -d "Unix socket"
__utter_option "serve" -l no-tcp -d "on the Unix socket alone"
__utter_option "serve" -l keys -r -F -d "API keys"
__utter_option "serve" -l new-key -x -d "make a key"
__utter_option "serve" -l allow-anyone -d "without keys"
__utter_option "serve" -l tls-cert -r -F -d certificate
__utter_option "serve" -l tls-key -r -F -d "its key"
__utter_option "serve" -l proxies -x -d "whose X-Forwarded-For is believed"
__utter_option "serve" -l cors -x -d "origin of pages that may ask"
__utter_option "serve" -l config -r -F -d "names and limits"
__utter_option "serve" -l output-folder -r -F -d "where POST / writes"
__utter_option "serve" -l wyoming -d "the Wyoming protocol too"
__utter_option "serve" -l wyoming-address -x -d "where"
__utter_option "serve" -l play -d "POST / plays"
__utter_option "serve" -l places -x -d "texts at once"
__utter_option "serve" -l queue -x -d "texts that wait"
__utter_option "serve" -l characters -x -d "of a text"
__utter_option "serve" -l deadline -x -d seconds
__utter_option "serve" -l rate -x -d "requests a minute"
__utter_option "serve" -l at-once -x -d "requests of one caller"
__utter_option "serve" -l connections -x -d "at most"
__utter_option "serve" -l drain -x -d "seconds when it stops"
__utter_option "serve" -l log -x -a "text json off" -d "of the log"
__utter_option "submit worker queue" -l redis -x -d "where the queue is"
__utter_option "worker" -l name -x -d "of this worker"
__utter_option "worker" -l idle -x -d "end after so long with nothing to do"
__utter_option "queue" -l yes -d "I am sure"
functions -e __utter_option
