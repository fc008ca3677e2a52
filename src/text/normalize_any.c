/* Without knowing the language: only what would tear numbers and addresses into pieces. */
#include "text/normalize_parts.h"
#include "text/normalize_rules.h"

const struct words words_any = {
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

const struct rule rules_any[] = {
    {EMAIL, write_address, NULL},
    {URL, write_address, NULL},
    {HOST, write_address, NULL},
    {LONG_DIGITS, write_digits, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:,\\d{3}){1,5}(?![\\p{L}\\p{N}]|,\\d)", write_joined, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:\\.\\d{3}){1,5}(?![\\p{L}\\p{N}]|\\.\\d)", write_joined, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:[\\x{a0}\\x{2009}\\x{202f}'’]\\d{3}){1,5}(?![\\p{L}\\p{N}])", write_joined,
     NULL},
    {"(?<=\\d)[.,](?=\\d)", NULL, " "},
};
const size_t n_rules_any = sizeof rules_any / sizeof *rules_any;
