/* utter voices add, show, remove and preview. */
#ifndef UTTER_CLI_VOICES_ADD_H
#define UTTER_CLI_VOICES_ADD_H

int voices_add(int argc, char **argv);
int voices_show(int argc, char **argv);
int voices_remove(int argc, char **argv);
int voices_preview(int argc, char **argv);

#endif
