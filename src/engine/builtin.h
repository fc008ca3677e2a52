/* The built-in model, carried inside the program (builtin.S is made by the build from assets/). */
#ifndef UTTER_ENGINE_BUILTIN_H
#define UTTER_ENGINE_BUILTIN_H

extern const unsigned char builtin_backbone[], builtin_backbone_end[];
extern const unsigned char builtin_codec[], builtin_codec_end[];

#endif
