#include <string.h>

#include "text/normalize_parts.h"
#include "text/normalize_rules.h"

// With an article: 1 is read "un" before any word.
static const struct measure measures[] = {
    {"km/h", "un kilomètre par heure", "kilomètres par heure"},
    {"m/s", "un mètre par seconde", "mètres par seconde"},
    {"km²", "un kilomètre carré", "kilomètres carrés"},
    {"cm²", "un centimètre carré", "centimètres carrés"},
    {"m²", "un mètre carré", "mètres carrés"},
    {"cm³", "un centimètre cube", "centimètres cubes"},
    {"m³", "un mètre cube", "mètres cubes"},
    {"km", "un kilomètre", "kilomètres"},
    {"m", "un mètre", "mètres"},
    {"cm", "un centimètre", "centimètres"},
    {"mm", "un millimètre", "millimètres"},
    {"µm", "un micromètre", "micromètres"},
    {"nm", "un nanomètre", "nanomètres"},
    {"kg", "un kilogramme", "kilogrammes"},
    {"g", "un gramme", "grammes"},
    {"mg", "un milligramme", "milligrammes"},
    {"t", "une tonne", "tonnes"},
    {"l", "un litre", "litres"},
    {"L", "un litre", "litres"},
    {"ml", "un millilitre", "millilitres"},
    {"mL", "un millilitre", "millilitres"},
    {"cl", "un centilitre", "centilitres"},
    {"ha", "un hectare", "hectares"},
    {"°C", "un degré Celsius", "degrés Celsius"},
    {"°F", "un degré Fahrenheit", "degrés Fahrenheit"},
    {"°", "un degré", "degrés"},
    {"K", "un kelvin", "kelvins"},
    {"ko", "un kilooctet", "kilooctets"},
    {"Ko", "un kilooctet", "kilooctets"},
    {"Mo", "un mégaoctet", "mégaoctets"},
    {"Go", "un gigaoctet", "gigaoctets"},
    {"To", "un téraoctet", "téraoctets"},
    {"kB", "un kilobyte", "kilobytes"},
    {"MB", "un mégabyte", "mégabytes"},
    {"GB", "un gigabyte", "gigabytes"},
    {"TB", "un térabyte", "térabytes"},
    {"Hz", "un hertz", "hertz"},
    {"kHz", "un kilohertz", "kilohertz"},
    {"MHz", "un mégahertz", "mégahertz"},
    {"GHz", "un gigahertz", "gigahertz"},
    {"W", "un watt", "watts"},
    {"kW", "un kilowatt", "kilowatts"},
    {"MW", "un mégawatt", "mégawatts"},
    {"kWh", "un kilowattheure", "kilowattheures"},
    {"V", "un volt", "volts"},
    {"A", "un ampère", "ampères"},
    {"dB", "un décibel", "décibels"},
    {"kcal", "une kilocalorie", "kilocalories"},
    {"h", "une heure", "heures"},
    {"min", "une minute", "minutes"},
    {"s", "une seconde", "secondes"},
    {"ms", "une milliseconde", "millisecondes"},
    {"%", "un pour cent", "pour cent"},
    {"‰", "un pour mille", "pour mille"},
};

static const struct money monies[] = {
    {"|€|EUR|", "un euro", "euros", "d'euros", "un centime", "centimes"},
    {"|$|USD|", "un dollar", "dollars", "de dollars", "un cent", "cents"},
    {"|£|GBP|", "une livre", "livres", "de livres", "un penny", "pence"},
    {"|¥|JPY|", "un yen", "yens", "de yens", NULL, NULL},
    {"|CHF|", "un franc suisse", "francs suisses", "de francs suisses", "un centime", "centimes"},
};

static const struct abbreviation abbreviations[] = {
    {"etc", "et cetera"}, {"cf", "confer"},     {"Cf", "Confer"},      {"env", "environ"},  {"tél", "téléphone"},
    {"Tél", "Téléphone"}, {"janv", "janvier"},  {"févr", "février"},   {"juil", "juillet"}, {"oct", "octobre"},
    {"nov", "novembre"},  {"déc", "décembre"},  {"chap", "chapitre"},  {"fig", "figure"},   {"éd", "édition"},
    {"Dr", "Docteur"},    {"Pr", "Professeur"}, {"boul", "boulevard"},
};

const struct words words_french = {
    .point = "point",
    .comma = "virgule",
    .plus = "plus",
    .and_cents = " ",
    .dot = "point",
    .at = "arobase",
    .slash = "barre oblique",
    .hyphen = "tiret",
    .underscore = "tiret bas",
    .question = "point d'interrogation",
    .equals = "égale",
    .ampersand = "et",
    .percent = "pour cent",
    .colon = "deux-points",
    .tilde = "tilde",
    .measures = measures,
    .n_measures = sizeof measures / sizeof *measures,
    .monies = monies,
    .n_monies = sizeof monies / sizeof *monies,
    .abbreviations = abbreviations,
    .n_abbreviations = sizeof abbreviations / sizeof *abbreviations,
};

static const char *const months[] = {"janvier", "février", "mars",      "avril",   "mai",      "juin",
                                     "juillet", "août",    "septembre", "octobre", "novembre", "décembre"};

/* 5 €99. Groups: 1 euros, 2 cents. */
static bool euros_cents(const struct match *m, struct str *out) {
    long long cents = span_number(m->group[2]);
    if (span_is(m->group[1], "1")) {
        str_puts(out, "un euro");
    } else {
        str_span(out, m->group[1]);
        str_puts(out, " euros");
    }
    if (cents) str_printf(out, " %lld", cents);
    return true;
}

static const char *const below_20[] = {"",         "un",     "deux",  "trois",    "quatre",   "cinq",    "six",
                                       "sept",     "huit",   "neuf",  "dix",      "onze",     "douze",   "treize",
                                       "quatorze", "quinze", "seize", "dix-sept", "dix-huit", "dix-neuf"};

// 1 to 99; the last word is cut to what the ordinal grows from when `stem` is set
static void write_number(int n, bool stem, struct str *out) {
    static const char *const tens[] = {"",          "",         "vingt",    "trente", "quarante",
                                       "cinquante", "soixante", "soixante", "",       ""};
    static const char *const stems[] = {[4] = "quatr",  [5] = "cinqu",    [9] = "neuv",   [11] = "onz", [12] = "douz",
                                        [13] = "treiz", [14] = "quatorz", [15] = "quinz", [16] = "seiz"};
    int rest = n;
    if (n >= 80) {
        str_puts(out, n == 80 && !stem ? "quatre-vingts" : "quatre-vingt");
        rest = n - 80;
        if (rest) str_putc(out, '-');
    } else if (n >= 20) {
        rest = n >= 70 ? n - 60 : n % 10;
        struct span ten = {tens[n / 10], strlen(tens[n / 10])};
        if (stem && !rest && n != 20) ten.n--;  // trent-ième
        str_span(out, ten);
        if (rest == 1 || rest == 11)
            str_puts(out, " et ");
        else if (rest)
            str_putc(out, '-');
    }
    if (stem && rest == 19) {
        str_puts(out, "dix-neuv");
    } else if (stem && rest && rest <= 16 && stems[rest]) {
        str_puts(out, stems[rest]);
    } else {
        str_puts(out, below_20[rest]);
    }
}

// 1 to 99
static void write_ordinal(int n, bool feminine, struct str *out) {
    if (n == 1) {
        str_puts(out, feminine ? "première" : "premier");
        return;
    }
    if (n == 10 || n == 6 || n == 90 || n == 70) {  // dix-ième, six-ième
        write_number(n, false, out);
    } else {
        write_number(n, true, out);
    }
    str_puts(out, "ième");
}

/* Groups: 1 digits or a Roman numeral, 2 the ending, 3 a plural s. */
static bool ordinal(const struct match *m, struct str *out) {
    struct span number = m->group[1];
    bool in_digits = *number.p >= '0' && *number.p <= '9';
    long long n = in_digits ? span_number(number) : roman(number);
    if (n < 1 || n > 99) return false;
    bool feminine = span_is(m->group[2], "re") || span_is(m->group[2], "ère");
    bool one = feminine || span_is(m->group[2], "er");
    if (one != (n == 1)) return false;
    write_ordinal((int)n, feminine, out);
    str_span(out, m->group[3]);
    return true;
}

/* Groups: 1 name, 2 the numeral. */
static bool king(const struct match *m, struct str *out) {
    int n = roman(m->group[2]);
    if (!n) return false;
    str_span(out, m->group[1]);
    str_putc(out, ' ');
    if (n == 1)
        str_puts(out, "premier");
    else
        write_number(n, false, out);
    return true;
}

static bool write_date(struct span day, struct span month, struct span year, struct str *out) {
    int d, mon;
    if (!read_date(day, month, &d, &mon)) return false;
    if (d == 1)
        str_puts(out, "premier");
    else
        str_printf(out, "%d", d);
    str_putc(out, ' ');
    str_puts(out, months[mon - 1]);
    str_putc(out, ' ');
    str_span(out, year);
    return true;
}
/* Groups: 1 day, 2 the mark between, 3 month, 4 year. */
static bool date_marked(const struct match *m, struct str *out) {
    return write_date(m->group[1], m->group[3], m->group[4], out);
}
static bool date_year_first(const struct match *m, struct str *out) {
    return write_date(m->group[3], m->group[2], m->group[1], out);
}

/* Groups: 1 hour, 2 minute, 3 second. */
static bool time_of_day(const struct match *m, struct str *out) {
    long long h = span_number(m->group[1]), min = span_number(m->group[2]);
    if (h > 24 || min > 59) return false;
    if (h == 1)
        str_puts(out, "une heure");
    else
        str_printf(out, h ? "%lld heures" : "%lld heure", h);
    if (min) str_printf(out, " %lld", min);
    if (m->group[3].n) str_printf(out, " et %lld secondes", span_number(m->group[3]));
    return true;
}

/* Groups: 1 numerator, 2 denominator. */
static bool fraction(const struct match *m, struct str *out) {
    static const char *const parts[] = {"",        "",         "demi",     "tiers",    "quart",  "cinquième",
                                        "sixième", "septième", "huitième", "neuvième", "dixième"};
    long long n = span_number(m->group[1]), d = span_number(m->group[2]);
    if (n < 1 || d < 2 || n >= d || d > 10) return false;
    str_puts(out, below_20[n]);
    str_putc(out, ' ');
    str_puts(out, parts[d]);
    if (n > 1 && d != 3) str_putc(out, 's');
    return true;
}

#define UNITS                                                                                                        \
    "km/h|m/"                                                                                                        \
    "s|[kc]?m[²³]|[kcmµn]?m|k?g|mg|t|[mc]?l|m?L|ha|°[CF]?|K|[kKMGT]o|[kMGT]B|[kMG]?Hz|[kM]?W|kWh|V|A|dB|kcal|h|" \
    "min|m?s"

const struct rule rules_french[] = {
    {"[®™]", NULL, ""},
    {EMAIL, write_address, NULL},
    {URL, write_address, NULL},
    {HOST, write_address, NULL},

    {NOT_AFTER_WORD "p\\." GAP "?ex" DOT, NULL, "par exemple"},
    {NOT_AFTER_WORD "P\\." GAP "?ex" DOT, NULL, "Par exemple"},
    {NOT_AFTER_WORD "c\\.-à-d" DOT, NULL, "c'est-à-dire"},
    {NOT_AFTER_WORD "C\\.-à-d" DOT, NULL, "C'est-à-dire"},
    {NOT_AFTER_WORD "av\\." GAP "?J\\.-C" DOT, NULL, "avant Jésus-Christ"},
    {NOT_AFTER_WORD "apr?\\." GAP "?J\\.-C" DOT, NULL, "après Jésus-Christ"},
    {NOT_AFTER_WORD "J\\.-C" DOT, NULL, "Jésus-Christ"},
    {NOT_AFTER_WORD "MM\\.(?=" GAP "\\p{L})", NULL, "Messieurs"},
    {NOT_AFTER_WORD "M\\.(?=" GAP "\\p{L})", NULL, "Monsieur"},
    {NOT_AFTER_WORD "Mmes\\b", NULL, "Mesdames"},
    {NOT_AFTER_WORD "Mme\\b", NULL, "Madame"},
    {NOT_AFTER_WORD "Mlles\\b", NULL, "Mesdemoiselles"},
    {NOT_AFTER_WORD "Mlle\\b", NULL, "Mademoiselle"},
    {NOT_AFTER_WORD "Dr\\.?(?=" GAP "\\p{Lu})", NULL, "Docteur"},
    {NOT_AFTER_WORD "Pr\\.?(?=" GAP "\\p{Lu})", NULL, "Professeur"},
    {NOT_AFTER_WORD "Ste(?:-|\\.?" GAP ")(?=\\p{Lu})", NULL, "Sainte "},
    {NOT_AFTER_WORD "St(?:-|\\.?" GAP ")(?=\\p{Lu})", NULL, "Saint "},
    {NOT_AFTER_WORD "n[°º]s?" GAP "?(?=\\d)", NULL, "numéro "},
    {NOT_AFTER_WORD "N[°º]s?" GAP "?(?=\\d)", NULL, "Numéro "},
    {NOT_AFTER_WORD "bd\\.?(?=" GAP "\\p{L})", NULL, "boulevard"},
    {NOT_AFTER_WORD "Bd\\.?(?=" GAP "\\p{L})", NULL, "Boulevard"},
    {NOT_AFTER_WORD "av\\.(?=" GAP "\\p{L})", NULL, "avenue"},
    {NOT_AFTER_WORD "pp?\\.(?=" GAP "?\\d)", NULL, "page"},
    {"(?<=\\d )sept\\.(?!\\.|" END ")", NULL, "septembre"},
    {NOT_AFTER_WORD "vol\\.(?=" GAP "\\d)", NULL, "volume"},
    {NOT_AFTER_WORD "art\\.(?=" GAP "?\\d)", NULL, "article"},

    {"(?i)(?:\\bt[ée]l(?:[ée]phone|\\.)?|\\bfax|\\bportable)(?: est(?: le)?)?" GAP "?:? "
     "\\K\\d{2,15}(?:[ ./-]{1,3}\\d{1,12}){0,6}" NOT_BEFORE_WORD,
     write_phone, NULL},
    {NOT_AFTER_NUMBER "(\\d{4})-(\\d{2})-(\\d{2})(?!\\d|-\\d)", date_year_first, NULL},
    {NOT_AFTER_NUMBER "(\\d{1,2})([./-])(\\d{1,2})\\2(\\d{4}|\\d{2})(?!\\d|[./-]\\d)", date_marked, NULL},
    {PHONE, write_phone, NULL},
    {HYPHENATED_DIGITS, write_digits, NULL},
    {LONG_DIGITS, write_digits, NULL},

    {"(?<=\\d[:h]\\d\\d|\\dh) ?[–-] ?(?=\\d{1,2}[:h])", NULL, " à "},
    {"(?<=[\\d€$%‰°])[–—](?=\\d)", NULL, " à "},
    {"(?<![-\\p{L}\\d.,])(\\d{1,9})-(\\d{1,9})(?![-\\p{L}\\d]|[.,]\\d)", NULL, "$1 à $2"},
    {MINUS, NULL, "moins "},

    {NOT_AFTER_NUMBER "(\\d{1,2}):(\\d{2})(?::(\\d{2}))?(?![\\d:])", time_of_day, NULL},
    {NOT_AFTER_NUMBER "(\\d{1,2})" GAP "?[hH]" GAP "?(\\d{2})(?![\\p{L}\\d])", time_of_day, NULL},
    {NOT_AFTER_NUMBER "(\\d{1,2})()" GAP "?[hH](?![\\p{L}\\d'’/])", time_of_day, NULL},
    {NOT_AFTER_NUMBER "(\\d{1,4}):(\\d{1,4})(?![\\d:])", NULL, "$1 à $2"},

    {NOT_AFTER_WORD "([XVI]{1,7})(er|re|ère|ème|e)(s?)(?=" GAP "(?:siècles?|s\\.|millénaire|République|arrondissement|"
                    "congrès|dynastie|Empire|et ))",
     ordinal, NULL},
    {"\\b(Louis|Henri|Charles|Philippe|François|Napoléon|Jean|Jean-Paul|Paul|Pie|Benoît|Léon|Grégoire|Guillaume|"
     "Édouard|"
     "Edouard|Élisabeth|Elisabeth|Elizabeth|Georges|Catherine|Frédéric|Nicolas|Alexandre|Pierre|Léopold|Albert|"
     "Baudouin|"
     "Jacques|Richard|Ferdinand|Joseph|Clément|Innocent|Urbain|Hassan|Mohammed|Ramsès|Childéric|Clovis|Dagobert) "
     "(I(?=er\\b)|[IVX]{2,6}|V|X)(?:er)?" NOT_BEFORE_WORD,
     king, NULL},
    {NOT_AFTER_NUMBER "(\\d{1,2})(er|re|ère|ème|e)(s?)" NOT_BEFORE_WORD, ordinal, NULL},
    {"(?<=ième )s" DOT "(?<=\\.|s)", NULL, "siècle"},
    {NOT_AFTER_NUMBER "2nd(e?)(s?)" NOT_BEFORE_WORD, NULL, "second$1$2"},

    {NOT_AFTER_NUMBER "(" NUMBER ")" GAP "?€(\\d{2})(?!\\d)", euros_cents, NULL},
    {NOT_AFTER_NUMBER "(" NUMBER ")" GAP "?M(?=" GAP "?[€$£])", NULL, "$1 millions"},
    {NOT_AFTER_NUMBER "(" NUMBER ")" GAP "?Md(?=" GAP "?[€$£])", NULL, "$1 milliards"},
    {"(" CURRENCY ")" GAP "?(" NUMBER ")( (?:millions?|milliards?)\\b)?", write_money_before, NULL},
    {NOT_AFTER_NUMBER "(" NUMBER ")()(" GAP "(?:millions?|milliards?))?" GAP "?(" CURRENCY ")", write_money_after,
     NULL},
    {NOT_AFTER_NUMBER "(" NUMBER ")" GAP "?(" UNITS "|[%‰])(?![\\p{L}\\p{N}/²³’'])", write_measure, NULL},

    {"(?<![\\p{L}\\p{N}.-])(\\p{L}{2,5})\\.", write_abbreviation, NULL},

    {"(?<=\\d)½", NULL, " et demi"},
    {"(?<=\\d)¼", NULL, " un quart"},
    {"(?<=\\d)¾", NULL, " trois quarts"},
    {"½", NULL, "un demi"},
    {"¼", NULL, "un quart"},
    {"¾", NULL, "trois quarts"},
    {"⅓", NULL, "un tiers"},
    {"⅔", NULL, "deux tiers"},
    {NOT_AFTER_NUMBER "(\\d)/(\\d{1,2})(?!\\d|[/.,]\\d)", fraction, NULL},
    {"(?<=\\d{4})/(?=\\d)", NULL, " "},
    {"(?<=\\d)/(?=\\d)", NULL, " sur "},

    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:" GAP "\\d{3}){1,5}(?![\\p{L}\\p{N}])", write_joined, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:\\.\\d{3}){1,5}(?![\\p{L}\\p{N}]|\\.\\d)", write_joined, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:,\\d{3}){2,5}(?![\\p{L}\\p{N}]|,\\d)", write_joined, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:,\\d{3}){1,5}(?=\\.\\d{1,2}(?!\\d))", write_joined, NULL},
    {NOT_AFTER_NUMBER "(\\d{1,18})([.,])(\\d{1,18})(?![\\d]|[.,]\\d)", write_decimal, NULL},
    {"(?<=\\d)\\.(?=\\d)", NULL, " point "},
    {"(?<=\\d),(?=\\d)", NULL, ", "},
    {"(?<![\\p{L}\\p{N}])0\\d{1,30}(?!\\p{N})", write_digits, NULL},

    {"^& ?", NULL, "et "},
    {" ?& ?", NULL, " et "},
    {"(?<=\\d) ?[x×·] ?(?=\\d)", NULL, " fois "},
    {" ?× ?", NULL, " fois "},
    {" ?÷ ?", NULL, " divisé par "},
    {"(?<=\\S) = (?=\\S)", NULL, " égale "},
    {"(?<=[\\p{L}\\p{N}])=(?=[\\p{L}\\p{N}])", NULL, " égale "},
    {"(?<=[\\p{L}\\p{N}]) \\+ (?=[\\p{L}\\p{N}])", NULL, " plus "},
    {"(?<=\\d)\\+(?=\\d)", NULL, " plus "},
    {"(?<![\\p{L}\\p{N}])\\+(?=\\d)", NULL, "plus "},
    {" ?± ?", NULL, " plus ou moins "},
    {" ?≈ ?", NULL, " environ "},
    {"(?<![\\p{L}\\p{N}])~(?=\\d)", NULL, "environ "},
    {"§§?" GAP "?", NULL, "paragraphe "},
    {GAP "?%", NULL, " pour cent"},
    {"#(?=\\d)", NULL, "numéro "},
    {"#(?=\\p{L})", NULL, "hashtag "},
    {"(?:^|(?<=[\\s(]))@(?=\\p{L})", NULL, "arobase "},
    {" ?@ ?(?=\\p{L})", NULL, " arobase "},
    {"©" GAP "?", NULL, "copyright "},
    {"(?<=\\p{Ll})/(?=\\p{Ll})", NULL, " "},
};
const size_t n_rules_french = sizeof rules_french / sizeof *rules_french;
