#include <string.h>

#include "text/normalize_parts.h"
#include "text/normalize_rules.h"

// With an article: 1 is read "eins".
static const struct measure measures[] = {
    {"km/h", "ein Kilometer pro Stunde", "Kilometer pro Stunde"},
    {"m/s", "ein Meter pro Sekunde", "Meter pro Sekunde"},
    {"km²", "ein Quadratkilometer", "Quadratkilometer"},
    {"cm²", "ein Quadratzentimeter", "Quadratzentimeter"},
    {"m²", "ein Quadratmeter", "Quadratmeter"},
    {"qm", "ein Quadratmeter", "Quadratmeter"},
    {"cm³", "ein Kubikzentimeter", "Kubikzentimeter"},
    {"m³", "ein Kubikmeter", "Kubikmeter"},
    {"km", "ein Kilometer", "Kilometer"},
    {"m", "ein Meter", "Meter"},
    {"cm", "ein Zentimeter", "Zentimeter"},
    {"mm", "ein Millimeter", "Millimeter"},
    {"µm", "ein Mikrometer", "Mikrometer"},
    {"nm", "ein Nanometer", "Nanometer"},
    {"kg", "ein Kilogramm", "Kilogramm"},
    {"g", "ein Gramm", "Gramm"},
    {"mg", "ein Milligramm", "Milligramm"},
    {"t", "eine Tonne", "Tonnen"},
    {"l", "ein Liter", "Liter"},
    {"L", "ein Liter", "Liter"},
    {"ml", "ein Milliliter", "Milliliter"},
    {"cl", "ein Zentiliter", "Zentiliter"},
    {"ha", "ein Hektar", "Hektar"},
    {"°C", "ein Grad Celsius", "Grad Celsius"},
    {"°F", "ein Grad Fahrenheit", "Grad Fahrenheit"},
    {"°", "ein Grad", "Grad"},
    {"K", "ein Kelvin", "Kelvin"},
    {"kB", "ein Kilobyte", "Kilobyte"},
    {"KB", "ein Kilobyte", "Kilobyte"},
    {"MB", "ein Megabyte", "Megabyte"},
    {"GB", "ein Gigabyte", "Gigabyte"},
    {"TB", "ein Terabyte", "Terabyte"},
    {"Mbit/s", "ein Megabit pro Sekunde", "Megabit pro Sekunde"},
    {"Hz", "ein Hertz", "Hertz"},
    {"kHz", "ein Kilohertz", "Kilohertz"},
    {"MHz", "ein Megahertz", "Megahertz"},
    {"GHz", "ein Gigahertz", "Gigahertz"},
    {"W", "ein Watt", "Watt"},
    {"kW", "ein Kilowatt", "Kilowatt"},
    {"MW", "ein Megawatt", "Megawatt"},
    {"kWh", "eine Kilowattstunde", "Kilowattstunden"},
    {"V", "ein Volt", "Volt"},
    {"A", "ein Ampere", "Ampere"},
    {"dB", "ein Dezibel", "Dezibel"},
    {"PS", "ein PS", "PS"},
    {"kcal", "eine Kilokalorie", "Kilokalorien"},
    {"h", "eine Stunde", "Stunden"},
    {"Std", "eine Stunde", "Stunden"},
    {"Std.", "eine Stunde", "Stunden"},
    {"min", "eine Minute", "Minuten"},
    {"Min", "eine Minute", "Minuten"},
    {"Min.", "eine Minute", "Minuten"},
    {"s", "eine Sekunde", "Sekunden"},
    {"Sek", "eine Sekunde", "Sekunden"},
    {"Sek.", "eine Sekunde", "Sekunden"},
    {"ms", "eine Millisekunde", "Millisekunden"},
    {"Mio", "eine Million", "Millionen"},
    {"Mio.", "eine Million", "Millionen"},
    {"Mrd", "eine Milliarde", "Milliarden"},
    {"Mrd.", "eine Milliarde", "Milliarden"},
    {"Tsd.", "tausend", "tausend"},
    {"%", "ein Prozent", "Prozent"},
    {"‰", "ein Promille", "Promille"},
    {"x", "einmal", "mal"},
};

static const struct money monies[] = {
    {"|€|EUR|", "ein Euro", "Euro", "Euro", "ein Cent", "Cent"},
    {"|$|USD|", "ein Dollar", "Dollar", "Dollar", "ein Cent", "Cent"},
    {"|£|GBP|", "ein Pfund", "Pfund", "Pfund", "ein Penny", "Pence"},
    {"|¥|JPY|", "ein Yen", "Yen", "Yen", NULL, NULL},
    {"|CHF|", "ein Franken", "Franken", "Franken", "ein Rappen", "Rappen"},
};

static const struct abbreviation abbreviations[] = {
    {"usw", "und so weiter"},  {"bzw", "beziehungsweise"}, {"ca", "circa"},
    {"Ca", "Circa"},           {"Nr", "Nummer"},           {"Nrn", "Nummern"},
    {"Dr", "Doktor"},          {"Prof", "Professor"},      {"Hr", "Herr"},
    {"Hrn", "Herrn"},          {"Frl", "Fräulein"},        {"Str", "Straße"},
    {"str", "straße"},         {"Jh", "Jahrhundert"},      {"Jhs", "Jahrhunderts"},
    {"Jhd", "Jahrhundert"},    {"vgl", "vergleiche"},      {"Vgl", "Vergleiche"},
    {"evtl", "eventuell"},     {"Evtl", "Eventuell"},      {"ggf", "gegebenenfalls"},
    {"Ggf", "Gegebenenfalls"}, {"inkl", "inklusive"},      {"exkl", "exklusive"},
    {"zzgl", "zuzüglich"},     {"abzgl", "abzüglich"},     {"Tab", "Tabelle"},
    {"geb", "geboren"},        {"gest", "gestorben"},      {"max", "maximal"},
    {"mind", "mindestens"},    {"etc", "et cetera"},       {"Tel", "Telefon"},
    {"Abb", "Abbildung"},      {"Art", "Artikel"},         {"Bd", "Band"},
    {"Mio", "Millionen"},      {"Mrd", "Milliarden"},      {"Ing", "Ingenieur"},
    {"Dipl", "Diplom"},        {"Std", "Stunden"},         {"Anm", "Anmerkung"},
    {"Feb", "Februar"},        {"Okt", "Oktober"},         {"Nov", "November"},
    {"Dez", "Dezember"},       {"Aug", "August"},          {"Sept", "September"},
};

const struct words words_german = {
    .point = "Punkt",
    .comma = "Komma",
    .digit_by_digit = true,
    .plus = "plus",
    .and_cents = " ",
    .dot = "Punkt",
    .at = "at",
    .slash = "Schrägstrich",
    .hyphen = "Bindestrich",
    .underscore = "Unterstrich",
    .question = "Fragezeichen",
    .equals = "gleich",
    .ampersand = "und",
    .percent = "Prozent",
    .colon = "Doppelpunkt",
    .tilde = "Tilde",
    .measures = measures,
    .n_measures = sizeof measures / sizeof *measures,
    .monies = monies,
    .n_monies = sizeof monies / sizeof *monies,
    .abbreviations = abbreviations,
    .n_abbreviations = sizeof abbreviations / sizeof *abbreviations,
};

static const char *const months[] = {"Januar", "Februar", "März",      "April",   "Mai",      "Juni",
                                     "Juli",   "August",  "September", "Oktober", "November", "Dezember"};

// 1 to 99, in front of another word: "ein", "einund..."
static void write_below_100(int n, struct str *out) {
    static const char *const small[] = {
        "",     "ein", "zwei",  "drei",     "vier",     "fünf",     "sechs",    "sieben",   "acht",     "neun",
        "zehn", "elf", "zwölf", "dreizehn", "vierzehn", "fünfzehn", "sechzehn", "siebzehn", "achtzehn", "neunzehn"};
    static const char *const tens[] = {"",        "",        "zwanzig", "dreißig", "vierzig",
                                       "fünfzig", "sechzig", "siebzig", "achtzig", "neunzig"};
    if (n < 20) {
        str_puts(out, small[n]);
        return;
    }
    if (n % 10) {
        str_puts(out, small[n % 10]);
        str_puts(out, "und");
    }
    str_puts(out, tens[n / 10]);
}

// 1 to 999
static void write_ordinal(int n, const char *ending, struct str *out) {
    static const char *const irregular[] = {[1] = "erst", [3] = "dritt", [7] = "siebt", [8] = "acht"};
    if (n >= 100) {
        if (n >= 200) write_below_100(n / 100, out);
        str_puts(out, "hundert");
        n %= 100;
    }
    if (n == 1 || n == 3 || n == 7 || n == 8) {
        str_puts(out, irregular[n]);
    } else {
        write_below_100(n, out);
        str_puts(out, n == 0 || n >= 20 ? "st" : "t");
    }
    str_puts(out, ending);
}

// Of "dritt-" at text[at], as far as the words before tell.
static const char *ordinal_ending(const struct match *m, size_t at, const char *alone) {
    struct span before = word_before(m, at);
    if (span_listed(before,
                    " am im vom zum zur beim dem den des einem einen eines einer seit ab bis nach vor mit seinem "
                    "ihrem meinem seinen ihren meinen unserem diesem diesen jedem jeden und "))
        return "en";
    if (span_listed(before, " der ")) {
        struct span two = word_before(m, (size_t)(before.p - m->text));
        return span_listed(two, " in an auf ab aus bei mit nach seit von vor zu unter während trotz wegen ") ? "en"
                                                                                                             : "e";
    }
    if (span_listed(before, " ein kein mein dein sein ihr unser euer ")) return "er";
    if (span_listed(before, " die das ")) return "e";
    return alone;
}

static bool is_month(struct span s) {
    for (int i = 0; i < 12; i++)
        if (span_is(s, months[i])) return true;
    return span_listed(s, " jan feb mär jun jul aug sep sept okt nov dez ") || span_is(s, "Jänner");
}

/* Groups: 1 the number, 2 the word that follows. */
static bool ordinal(const struct match *m, struct str *out) {
    long long n = span_number(m->group[1]);
    struct span next = m->group[2];
    // these begin a sentence: the dot ended one
    if (n < 1 ||
        span_listed(next,
                    " der die das den dem ein eine einen er sie es wir ihr ich du und aber doch dann danach wenn als "
                    "im in am an auf mit nach von vom zu zum zur für wie was wer wo warum da dies diese dieser dieses "
                    "man nicht nun so auch sein seine ihre heute morgen gestern hier dort jetzt "))
        return false;
    bool month = is_month(next);
    // "1. Öffnen Sie ..." is an item of a list
    if (m->begin == 0 && !month &&
        !span_listed(next,
                     " platz kapitel klasse jahrhundert jh tag teil akt stock weltkrieg liga halbzeit quartal "
                     "auflage reihe runde bundesliga semester geburtstag advent bis "))
        return false;
    write_ordinal((int)n, ordinal_ending(m, m->begin, month ? "er" : "e"), out);
    return true;
}

/* Groups: 1 the number, after a word such as "am". */
static bool ordinal_en(const struct match *m, struct str *out) {
    long long n = span_number(m->group[1]);
    if (n < 1) return false;
    write_ordinal((int)n, "en", out);
    return true;
}

static void write_year(struct span s, struct str *out) {
    long long n = span_number(s);
    if (s.n != 4 || n < 1100 || n > 1999) {
        str_span(out, s);
        return;
    }
    write_below_100((int)n / 100, out);
    str_puts(out, "hundert");
    if (n % 100 == 1)
        str_puts(out, "eins");
    else
        write_below_100((int)n % 100, out);
}

static bool write_date(const struct match *m, struct span day, struct span month, struct span year, struct str *out) {
    int d, mon;
    if (!read_date(day, month, &d, &mon)) return false;
    write_ordinal(d, ordinal_ending(m, m->begin, "er"), out);
    str_putc(out, ' ');
    str_puts(out, months[mon - 1]);
    if (year.n) {
        str_putc(out, ' ');
        write_year(year, out);
    } else if (at_end(m)) {
        str_putc(out, '.');
    }
    return true;
}
static bool date_day_first(const struct match *m, struct str *out) {
    return write_date(m, m->group[1], m->group[2], m->group[3], out);
}
static bool date_year_first(const struct match *m, struct str *out) {
    return write_date(m, m->group[3], m->group[2], m->group[1], out);
}

static bool year(const struct match *m, struct str *out) {
    write_year(m->group[0], out);
    return true;
}

/* Groups: 1 hour, 2 minute, 3 second. */
static bool time_of_day(const struct match *m, struct str *out) {
    long long h = span_number(m->group[1]), min = span_number(m->group[2]);
    if (h > 24 || min > 59) return false;
    if (h == 1)
        str_puts(out, "ein Uhr");
    else
        str_printf(out, "%lld Uhr", h);
    if (min) str_printf(out, " %lld", min);
    if (m->group[3].n) str_printf(out, " und %lld Sekunden", span_number(m->group[3]));
    return true;
}

/* Groups: 1 numerator, 2 denominator. */
static bool fraction(const struct match *m, struct str *out) {
    static const char *const parts[] = {"",         "",        "Halbe",  "Drittel", "Viertel", "Fünftel",
                                        "Sechstel", "Siebtel", "Achtel", "Neuntel", "Zehntel"};
    long long n = span_number(m->group[1]), d = span_number(m->group[2]);
    if (n < 1 || d < 2 || n >= d || d > 10) return false;
    if (d == 2) {
        str_puts(out, "ein halb");
        return true;
    }
    write_below_100((int)n, out);
    str_putc(out, ' ');
    str_puts(out, parts[d]);
    return true;
}

/* Groups: 1 name, 2 its genitive s, 3 the numeral. */
static bool king(const struct match *m, struct str *out) {
    int n = roman(m->group[3]);
    if (!n) return false;
    bool queen = span_listed(m->group[1], " elisabeth katharina margarethe christina ");
    str_span(out, m->group[1]);
    str_span(out, m->group[2]);
    str_puts(out, m->group[2].n ? (queen ? " der " : " des ") : (queen ? " die " : " der "));
    write_ordinal(n, m->group[2].n ? "en" : "e", out);
    if (at_end(m)) str_putc(out, '.');
    return true;
}

/* Groups: 1 number, 2 Mio or Mrd; a currency follows. */
static bool scale(const struct match *m, struct str *out) {
    str_span(out, m->group[1]);
    str_puts(out, span_is(m->group[2], "Mio") ? " Million" : " Milliarde");
    if (!span_is(m->group[1], "1")) str_puts(out, span_is(m->group[2], "Mio") ? "en" : "n");
    return true;
}

#define UNITS                                                                                                           \
    "km/h|m/s|[kc]?m[²³]|qm|[kcmµn]?m|k?g|mg|t|[mc]?l|L|ha|°[CF]?|K|[kKMGT]B|Mbit/s|[kMG]?Hz|[kM]?W|kWh|V|A|dB|PS|" \
    "kcal|h|(?:Std|Min|Sek)(?:\\.(?!" END "))?|min|m?s"
#define SCALES "(?:Mio|Mrd|Tsd)(?:\\.(?!" END "))?"
#define DAY_MONTH "(\\d{1,2})\\. ?(\\d{1,2})\\."

const struct rule rules_german[] = {
    {"[®™]", NULL, ""},
    {EMAIL, write_address, NULL},
    {URL, write_address, NULL},
    {HOST, write_address, NULL},

    {NOT_AFTER_WORD "z\\." GAP "?B" DOT, NULL, "zum Beispiel"},
    {NOT_AFTER_WORD "Z\\." GAP "?B" DOT, NULL, "Zum Beispiel"},
    {NOT_AFTER_WORD "d\\." GAP "?h" DOT, NULL, "das heißt"},
    {NOT_AFTER_WORD "D\\." GAP "?h" DOT, NULL, "Das heißt"},
    {NOT_AFTER_WORD "u\\." GAP "?a" DOT, NULL, "unter anderem"},
    {NOT_AFTER_WORD "v\\." GAP "?a" DOT, NULL, "vor allem"},
    {NOT_AFTER_WORD "u\\." GAP "?U" DOT, NULL, "unter Umständen"},
    {NOT_AFTER_WORD "i\\." GAP "?d\\." GAP "?R" DOT, NULL, "in der Regel"},
    {NOT_AFTER_WORD "z\\." GAP "?T" DOT, NULL, "zum Teil"},
    {NOT_AFTER_WORD "o\\." GAP "?[Ää]" DOT, NULL, "oder Ähnliches"},
    {NOT_AFTER_WORD "u\\." GAP "?[Ää]" DOT, NULL, "und Ähnliches"},
    {NOT_AFTER_WORD "v\\." GAP "?Chr" DOT, NULL, "vor Christus"},
    {NOT_AFTER_WORD "n\\." GAP "?Chr" DOT, NULL, "nach Christus"},

    {"(?i)(?:\\btel(?:efon|\\.)?|\\bfax|\\bhandy|\\brufnummer|\\btelefonnummer)(?: ist| lautet)?:? "
     "\\K\\d{2,15}(?:[ /-]{1,3}\\d{1,12}){0,6}" NOT_BEFORE_WORD,
     write_phone, NULL},
    {NOT_AFTER_NUMBER "(\\d{4})-(\\d{2})-(\\d{2})(?!\\d|-\\d)", date_year_first, NULL},
    {"(?<=\\d\\.)[–-](?=\\d{1,2}\\.)", NULL, " bis "},
    {NOT_AFTER_NUMBER DAY_MONTH " ?(\\d{4})(?!\\d|[.,]\\d)", date_day_first, NULL},
    {NOT_AFTER_NUMBER DAY_MONTH "(\\d{2})(?!\\d|[.,]\\d)", date_day_first, NULL},
    {NOT_AFTER_NUMBER "(\\d\\d)\\.(\\d\\d)\\.(?!\\d)", date_day_first, NULL},
    {"(?<=\\bam |\\bvom |\\bbis |\\bzum |\\bden |\\bder |\\bseit |\\bab |\\bdem )" DAY_MONTH "(?!\\d)", date_day_first,
     NULL},
    {NOT_AFTER_NUMBER "(\\d{1,2})/(\\d{1,2})/(\\d{4})(?![\\d/])", date_day_first, NULL},
    {PHONE, write_phone, NULL},
    {HYPHENATED_DIGITS, write_digits, NULL},
    {LONG_DIGITS, write_digits, NULL},

    {"(?<=\\d[:.]\\d\\d) ?[–-] ?(?=\\d{1,2}[:.]\\d\\d(?!\\d))", NULL, " bis "},
    {"(?<=[\\d€$%‰°])[–—](?=\\d)", NULL, " bis "},
    {"(?<![-\\p{L}\\d.,])(\\d{1,9})-(\\d{1,9})(?![-\\p{L}\\d]|[.,]\\d)", NULL, "$1 bis $2"},
    {MINUS, NULL, "minus "},

    {NOT_AFTER_NUMBER "(\\d{1,2}):(\\d{2})(?::(\\d{2}))?(?![\\d:])(?: Uhr\\b)?", time_of_day, NULL},
    {NOT_AFTER_NUMBER "(\\d{1,2})\\.(\\d{2})(?! ?Uhr\\p{L})()(?: Uhr\\b)", time_of_day, NULL},
    {NOT_AFTER_NUMBER "1 Uhr\\b", NULL, "ein Uhr"},
    {NOT_AFTER_NUMBER "(\\d{1,4}):(\\d{1,4})(?![\\d:])", NULL, "$1 zu $2"},

    {"\\b(Ludwig|Heinrich|Friedrich|Wilhelm|Karl|Otto|Konrad|Philipp|Franz|Joseph|Leopold|Maximilian|Rudolf|Albrecht|"
     "Georg|Eduard|Richard|Jakob|Nikolaus|Alexander|Peter|Paul|Iwan|Johannes|Benedikt|Pius|Leo|Gregor|Napoleon|"
     "Ferdinand|"
     "Christian|Gustav|Elisabeth|Katharina|Margarethe|Christina)(s?) ([IVX]{1,6})\\.",
     king, NULL},

    {NOT_AFTER_NUMBER "(" NUMBER ")" GAP "?(Mio|Mrd)\\.?(?=" GAP "?(?:" CURRENCY "))", scale, NULL},
    {NOT_AFTER_NUMBER "(\\d{1,9}),[-–—]{1,2}(?=" GAP "?(?:" CURRENCY "))", NULL, "$1"},
    {"(" CURRENCY ")" GAP "?(" NUMBER ")( (?:Millionen|Milliarden|Million|Milliarde)\\b)?", write_money_before, NULL},
    {NOT_AFTER_NUMBER "(" NUMBER ")()( (?:Millionen|Milliarden|Million|Milliarde))?" GAP "?(" CURRENCY ")",
     write_money_after, NULL},
    {"%(?=ig)", NULL, "prozent"},
    {NOT_AFTER_NUMBER "(" NUMBER ")" GAP "?(" UNITS "|" SCALES "|[%‰])(?![\\p{L}\\p{N}/²³’'])", write_measure, NULL},
    {NOT_AFTER_NUMBER "1( (?:Million|Milliarde)\\b)", NULL, "eine$1"},
    {NOT_AFTER_NUMBER "(\\d{1,3}) ?x(?= \\p{L})", NULL, "$1 mal"},

    {"(?<=\\d\\. |\\d\\.)Jan" DOT, NULL, "Januar"},
    {"(?<=\\bam |\\bvom |\\bzum |\\bden |\\bdem |\\bbis |\\bab |\\bseit )([1-9]\\d?)\\.(?= \\p{Ll}|,)", ordinal_en,
     NULL},
    {NOT_AFTER_NUMBER "([1-9]\\d{0,2})\\.(?=" GAP "((?:\\p{Lu}\\p{L}{1,30}|bis(?= \\d{1,2}\\.))))", ordinal, NULL},
    {"(?<=\\p{L}\\p{L})(?<!\\p{Lu})str\\.(?=" GAP "\\d)", NULL, "straße"},
    {"(?<=\\p{L}\\p{L})(?<!\\p{Lu})str" DOT "(?<=\\.)", NULL, "straße"},
    {NOT_AFTER_WORD "St\\.(?=" GAP "\\p{Lu})", NULL, "Sankt"},
    {"(?<=\\d )St" DOT "(?<=[t.])", NULL, "Stück"},
    {NOT_AFTER_WORD "Fr\\.(?=" GAP "\\p{Lu})", NULL, "Frau"},
    {NOT_AFTER_WORD "Fr\\.(?=,)", NULL, "Freitag"},
    {NOT_AFTER_WORD "sog\\.(?=" GAP ")", NULL, "sogenannte"},
    {NOT_AFTER_WORD "Kap\\.(?=" GAP "\\d)", NULL, "Kapitel"},
    {NOT_AFTER_WORD "S\\.(?=" GAP "\\d)", NULL, "Seite"},
    {NOT_AFTER_WORD "Art\\.(?=" GAP "\\d)", NULL, "Artikel"},
    {NOT_AFTER_WORD "Abs\\.(?=" GAP "\\d)", NULL, "Absatz"},
    {"(?<![\\p{L}\\p{N}.-])(\\p{L}{2,5})\\.", write_abbreviation, NULL},

    {"(?<=\\d)½", NULL, " einhalb"},
    {"(?<=\\d)¼", NULL, " einviertel"},
    {"(?<=\\d)¾", NULL, " dreiviertel"},
    {"½", NULL, "ein halb"},
    {"¼", NULL, "ein Viertel"},
    {"¾", NULL, "drei Viertel"},
    {"⅓", NULL, "ein Drittel"},
    {"⅔", NULL, "zwei Drittel"},
    {NOT_AFTER_NUMBER "(\\d)/(\\d{1,2})(?![\\d/.,])", fraction, NULL},
    {NOT_AFTER_NUMBER "(\\d)/(\\d{1,2})(?=[.,](?!\\d))", fraction, NULL},
    {"(?<=\\d{4})/(?=\\d)", NULL, " "},
    {"(?<=\\d)/(?=\\d)", NULL, " durch "},

    {"(?<=\\b[Jj]ahr |\\b[Jj]ahre |\\bJahren |\\bJahres )1[1-9]\\d\\d(?![\\p{L}\\p{N}]|[.,:/]\\d)", year, NULL},
    {"(?<=Januar |Februar |März |April |Mai |Juni |Juli |August |September |Oktober |November |Dezember |Sommer "
     "|Winter |"
     "Frühling |Herbst )1[1-9]\\d\\d(?![\\p{L}\\p{N}]|[.,:/]\\d)",
     year, NULL},
    {"(?<![\\p{L}\\p{N}.,:/-])1[1-9]\\d\\d(?![\\p{L}\\p{N}]|[.,:/-]\\d|" GAP "[\\p{Lu}\\d])", year, NULL},
    {"(?<![\\p{L}\\p{N}.,:/-])1[1-9]\\d\\d(?= bis 1[1-9]\\d\\d)", year, NULL},

    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:\\.\\d{3}){1,5}(?![\\p{L}\\p{N}]|\\.\\d)", write_joined, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:,\\d{3}){2,5}(?![\\p{L}\\p{N}]|,\\d)", write_joined, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:,\\d{3}){1,5}(?=\\.\\d{1,2}(?!\\d))", write_joined, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:[\\x{a0}\\x{2009}\\x{202f}'’]\\d{3}){1,5}(?![\\p{L}\\p{N}])", write_joined,
     NULL},
    {NOT_AFTER_NUMBER "(\\d{1,18})([.,])(\\d{1,18})(?![\\d]|[.,]\\d)", write_decimal, NULL},
    {"(?<=\\d)\\.(?=\\d)", NULL, " Punkt "},
    {"(?<=\\d),(?=\\d)", NULL, ", "},
    {"(?<![\\p{L}\\p{N}])0\\d{1,30}(?!\\p{N})", write_digits, NULL},

    {"^& ?", NULL, "und "},
    {" ?& ?", NULL, " und "},
    {"(?<=\\d) ?[x×·] ?(?=\\d)", NULL, " mal "},
    {" ?× ?", NULL, " mal "},
    {" ?÷ ?", NULL, " geteilt durch "},
    {"(?<=\\S) = (?=\\S)", NULL, " gleich "},
    {"(?<=[\\p{L}\\p{N}])=(?=[\\p{L}\\p{N}])", NULL, " gleich "},
    {"(?<=[\\p{L}\\p{N}]) \\+ (?=[\\p{L}\\p{N}])", NULL, " plus "},
    {"(?<=\\d)\\+(?=\\d)", NULL, " plus "},
    {"(?<![\\p{L}\\p{N}])\\+(?=\\d)", NULL, "plus "},
    {" ?± ?", NULL, " plus minus "},
    {" ?≈ ?", NULL, " ungefähr "},
    {"(?<![\\p{L}\\p{N}])~(?=\\d)", NULL, "circa "},
    {"§§" GAP "?", NULL, "Paragrafen "},
    {"§" GAP "?", NULL, "Paragraf "},
    {GAP "?%", NULL, " Prozent"},
    {"#(?=\\d)", NULL, "Nummer "},
    {"#(?=\\p{L})", NULL, "Hashtag "},
    {"(?:^|(?<=[\\s(]))@(?=\\p{L})", NULL, "at "},
    {" ?@ ?(?=\\p{L})", NULL, " at "},
    {"©" GAP "?", NULL, "Copyright "},
    {"(?<=\\p{Ll})/(?=\\p{Ll})", NULL, " "},
};
const size_t n_rules_german = sizeof rules_german / sizeof *rules_german;
