/* utter models suggest. */
#ifndef UTTER_CLI_MODELS_SUGGEST_H
#define UTTER_CLI_MODELS_SUGGEST_H

int models_suggest(int argc, char **argv);

#endif
