/* Without knowing the language: only what would tear numbers and addresses into pieces. */
#include "text/normalize_parts.h"
#include "text/normalize_rules.h"

static const struct words words = {
    .plus = "+",
    .dot = "",
    .at = "@",
    .slash = "",
    .hyphen = "",
    .underscore = "",
    .question = "",
    .equals = "",
    .ampersand = "",
    .percent = "",
    .colon = "",
    .tilde = "",
};

static bool address(const struct match *m, struct str *out) { return write_address(&words, m, out); }
static bool digits(const struct match *m, struct str *out) { return write_digits(&words, m, 1, out); }
static bool joined(const struct match *m, struct str *out) { return write_joined(m, out); }

const struct rule rules_any[] = {
    {EMAIL, address, NULL},
    {URL, address, NULL},
    {HOST, address, NULL},
    {LONG_DIGITS, digits, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:,\\d{3}){1,5}(?![\\p{L}\\p{N}]|,\\d)", joined, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:\\.\\d{3}){1,5}(?![\\p{L}\\p{N}]|\\.\\d)", joined, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:[\\x{a0}\\x{2009}\\x{202f}'’]\\d{3}){1,5}(?![\\p{L}\\p{N}])", joined, NULL},
    {"(?<=\\d)[.,](?=\\d)", NULL, " "},
};
const size_t n_rules_any = sizeof rules_any / sizeof *rules_any;
