/* Someone who hears sound while it is made: plays from the first sample on, and notices when the next ones come late.
 */
#ifndef UTTER_CLI_BENCH_LISTENER_H
#define UTTER_CLI_BENCH_LISTENER_H

struct listener {
    double first_s;  // when the first sound came; 0: none yet
    double until_s;  // when what has come will have been played
    double late_s;   // silence in all gaps
    double spare_s;  // the least that was still to be played when more came
    double audio_s;  // of sound so far
    int n_gaps;
};

/* At `now_s`, a time of the caller's, there came `audio_s` of sound. */
void listener_hear(struct listener *l, double now_s, double audio_s);

#endif
