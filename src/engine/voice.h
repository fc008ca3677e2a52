/* Voices: whose speech the model imitates. Two kinds: cloned ones carry a transcript and the speech codes of a
   recording; a model's own ones are a token of its vocabulary. docs/voices.md describes the JSON. */
#ifndef UTTER_ENGINE_VOICE_H
#define UTTER_ENGINE_VOICE_H

#include "backbone/backbone.h"
#include "codec/codec.h"

struct voice {
    char *name;
    char *language;
    char *note;
    char *token;     // token text such as "<|VOICE_slt|>"; "" for cloned voices
    char *ref;       // transcript as the model reads it: phonemes, or prepared text; "" without
    int32_t *codes;  // [n_codes] of the recording
    int n_codes;
    double frames_per_symbol;  // how fast it speaks, from the recording; 0 unknown
    bool asked_for;            // by its file's name, not found in a folder: stays when the folders are read anew
};

struct voice_list {
    struct voice **voices;  // [n]; each stays where it is, so that its strings can be handed out
    int n;
};

void voice_list_free(struct voice_list *list);
void voice_free(struct voice *v);

/* Room for n voices, so that adding up to there cannot fail. */
status voice_list_reserve(struct voice_list *list, int n);

/* Whether both speak alike under the same name. */
bool voice_equal(const struct voice *a, const struct voice *b);

/* The voices a model carries in its metadata (`utter.voices`, a JSON array). */
status voice_list_add_own(struct voice_list *list, const struct backbone *b, const struct codec *c);

/* A voice from a JSON file, or from codes (.pt, .npy) with their transcript in a .txt beside them, then called as the
   file is. Refuses one whose name is taken, or whose codes another codec made. */
status voice_list_add_file(struct voice_list *list, const char *path, const struct backbone *b, const struct codec *c);

/* By name; NULL name: the first. An unknown name is refused with those there are. */
status voice_list_find(const struct voice_list *list, const char *name, const struct voice **out);

/* Letters and signs of prepared text that take time to speak: what lengths are estimated from. */
int count_symbols(const char *prepared);

#endif
