#include <string.h>

#include "text/normalize_parts.h"
#include "text/normalize_rules.h"

// With an article: 1 is read "uno".
static const struct measure measures[] = {
    {"km/h", "un kilómetro por hora", "kilómetros por hora"},
    {"m/s", "un metro por segundo", "metros por segundo"},
    {"km²", "un kilómetro cuadrado", "kilómetros cuadrados"},
    {"cm²", "un centímetro cuadrado", "centímetros cuadrados"},
    {"m²", "un metro cuadrado", "metros cuadrados"},
    {"cm³", "un centímetro cúbico", "centímetros cúbicos"},
    {"m³", "un metro cúbico", "metros cúbicos"},
    {"km", "un kilómetro", "kilómetros"},
    {"m", "un metro", "metros"},
    {"cm", "un centímetro", "centímetros"},
    {"mm", "un milímetro", "milímetros"},
    {"µm", "un micrómetro", "micrómetros"},
    {"nm", "un nanómetro", "nanómetros"},
    {"kg", "un kilogramo", "kilogramos"},
    {"g", "un gramo", "gramos"},
    {"mg", "un miligramo", "miligramos"},
    {"t", "una tonelada", "toneladas"},
    {"l", "un litro", "litros"},
    {"L", "un litro", "litros"},
    {"ml", "un mililitro", "mililitros"},
    {"mL", "un mililitro", "mililitros"},
    {"cl", "un centilitro", "centilitros"},
    {"ha", "una hectárea", "hectáreas"},
    {"°C", "un grado Celsius", "grados Celsius"},
    {"ºC", "un grado Celsius", "grados Celsius"},
    {"°F", "un grado Fahrenheit", "grados Fahrenheit"},
    {"ºF", "un grado Fahrenheit", "grados Fahrenheit"},
    {"°", "un grado", "grados"},
    {"K", "un kelvin", "kelvin"},
    {"kB", "un kilobyte", "kilobytes"},
    {"KB", "un kilobyte", "kilobytes"},
    {"MB", "un megabyte", "megabytes"},
    {"GB", "un gigabyte", "gigabytes"},
    {"TB", "un terabyte", "terabytes"},
    {"Hz", "un hercio", "hercios"},
    {"kHz", "un kilohercio", "kilohercios"},
    {"MHz", "un megahercio", "megahercios"},
    {"GHz", "un gigahercio", "gigahercios"},
    {"W", "un vatio", "vatios"},
    {"kW", "un kilovatio", "kilovatios"},
    {"MW", "un megavatio", "megavatios"},
    {"kWh", "un kilovatio hora", "kilovatios hora"},
    {"V", "un voltio", "voltios"},
    {"A", "un amperio", "amperios"},
    {"dB", "un decibelio", "decibelios"},
    {"kcal", "una kilocaloría", "kilocalorías"},
    {"h", "una hora", "horas"},
    {"min", "un minuto", "minutos"},
    {"s", "un segundo", "segundos"},
    {"ms", "un milisegundo", "milisegundos"},
    {"%", "uno por ciento", "por ciento"},
    {"‰", "uno por mil", "por mil"},
};

static const struct money monies[] = {
    {"|€|EUR|", "un euro", "euros", "de euros", "un céntimo", "céntimos"},
    {"|$|USD|", "un dólar", "dólares", "de dólares", "un centavo", "centavos"},
    {"|£|GBP|", "una libra", "libras", "de libras", "un penique", "peniques"},
    {"|¥|JPY|", "un yen", "yenes", "de yenes", NULL, NULL},
    {"|CHF|", "un franco suizo", "francos suizos", "de francos suizos", "un céntimo", "céntimos"},
};

static const struct abbreviation abbreviations[] = {
    {"Sr", "señor"},
    {"Sres", "señores"},
    {"Sra", "señora"},
    {"Sras", "señoras"},
    {"Srta", "señorita"},
    {"Dr", "doctor"},
    {"Dra", "doctora"},
    {"Dres", "doctores"},
    {"Prof", "profesor"},
    {"Ing", "ingeniero"},
    {"Lic", "licenciado"},
    {"Ud", "usted"},
    {"Uds", "ustedes"},
    {"Vd", "usted"},
    {"Vds", "ustedes"},
    {"pág", "página"},
    {"págs", "páginas"},
    {"etc", "etcétera"},
    {"aprox", "aproximadamente"},
    {"tel", "teléfono"},
    {"Tel", "Teléfono"},
    {"núm", "número"},
    {"Núm", "Número"},
    {"cap", "capítulo"},
    {"art", "artículo"},
    {"vol", "volumen"},
    {"fig", "figura"},
    {"Avda", "avenida"},
    {"avda", "avenida"},
    {"Av", "avenida"},
    {"Gral", "general"},
    {"máx", "máximo"},
    {"mín", "mínimo"},
    {"admón", "administración"},
    {"Cía", "compañía"},
    {"dpto", "departamento"},
    {"izq", "izquierda"},
    {"dcha", "derecha"},
    {"Sto", "santo"},
    {"Sta", "santa"},
};

const struct words words_spanish = {
    .point = "punto",
    .comma = "coma",
    .plus = "más",
    .and_cents = " con ",
    .dot = "punto",
    .at = "arroba",
    .slash = "barra",
    .hyphen = "guion",
    .underscore = "guion bajo",
    .question = "interrogación",
    .equals = "igual",
    .ampersand = "y",
    .percent = "por ciento",
    .colon = "dos puntos",
    .tilde = "virgulilla",
    .measures = measures,
    .n_measures = sizeof measures / sizeof *measures,
    .monies = monies,
    .n_monies = sizeof monies / sizeof *monies,
    .abbreviations = abbreviations,
    .n_abbreviations = sizeof abbreviations / sizeof *abbreviations,
};

static const char *const months[] = {"enero", "febrero", "marzo",      "abril",   "mayo",      "junio",
                                     "julio", "agosto",  "septiembre", "octubre", "noviembre", "diciembre"};

enum ordinal_form { MASCULINE, FEMININE, SHORT };

// A word that ends in o, in that form.
static void write_formed(const char *word, enum ordinal_form form, struct str *out) {
    size_t n = strlen(word);
    str_append(out, word, n - 1);
    if (form != SHORT) str_putc(out, form == FEMININE ? 'a' : 'o');
}

// 1 to 99
static void write_ordinal(int n, enum ordinal_form form, struct str *out) {
    static const char *const small[] = {"",
                                        "primero",
                                        "segundo",
                                        "tercero",
                                        "cuarto",
                                        "quinto",
                                        "sexto",
                                        "séptimo",
                                        "octavo",
                                        "noveno",
                                        "décimo",
                                        "undécimo",
                                        "duodécimo",
                                        "decimotercero",
                                        "decimocuarto",
                                        "decimoquinto",
                                        "decimosexto",
                                        "decimoséptimo",
                                        "decimoctavo",
                                        "decimonoveno"};
    static const char *const tens[] = {"",
                                       "",
                                       "vigésimo",
                                       "trigésimo",
                                       "cuadragésimo",
                                       "quincuagésimo",
                                       "sexagésimo",
                                       "septuagésimo",
                                       "octogésimo",
                                       "nonagésimo"};
    // only primer and tercer are short
    if (form == SHORT && n % 10 != 1 && n % 10 != 3) form = MASCULINE;
    if (n >= 20) {
        write_formed(tens[n / 10], form == FEMININE ? FEMININE : MASCULINE, out);
        if (n % 10 == 0) return;
        str_putc(out, ' ');
        n %= 10;
    }
    if (n == 11 && form == SHORT) form = MASCULINE;
    write_formed(small[n], form, out);
}

/* Groups: 1 digits, 2 the ending. */
static bool ordinal(const struct match *m, struct str *out) {
    long long n = span_number(m->group[1]);
    if (n < 1 || n > 99) return false;
    struct span ending = m->group[2];
    bool feminine = span_is(ending, "ª") || span_is(ending, "a");
    write_ordinal((int)n, feminine ? FEMININE : span_is(ending, "er") ? SHORT : MASCULINE, out);
    if (at_end(m) && m->text[m->end - 1] == '.') str_putc(out, '.');
    return true;
}

/* Groups: 1 name, 2 the numeral. Ordinals go to the tenth. */
static bool king(const struct match *m, struct str *out) {
    int n = roman(m->group[2]);
    if (!n) return false;
    bool queen = span_listed(m->group[1], " isabel catalina cristina margarita ");
    str_span(out, m->group[1]);
    str_putc(out, ' ');
    if (n <= 10)
        write_ordinal(n, queen ? FEMININE : MASCULINE, out);
    else
        str_printf(out, "%d", n);
    return true;
}

/* Groups: 1 the word before, 2 the numeral. */
static bool century(const struct match *m, struct str *out) {
    int n = roman(m->group[2]);
    if (!n) return false;
    str_puts(out, *m->group[1].p == 'S' ? "Siglo" : "siglo");
    if (m->group[1].p[m->group[1].n - 1] == 's' && m->group[1].n > 2) str_putc(out, 's');
    str_printf(out, " %d", n);
    return true;
}

static bool write_date(struct span day, struct span month, struct span year, struct str *out) {
    int d, mon;
    if (!read_date(day, month, &d, &mon)) return false;
    str_printf(out, "%d de %s de ", d, months[mon - 1]);
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

/* Groups: 1 hour, 2 minute, 3 second, 4 "h". Hours are feminine. */
static bool time_of_day(const struct match *m, struct str *out) {
    long long h = span_number(m->group[1]), min = span_number(m->group[2]);
    if (h > 24 || min > 59) return false;
    if (h == 1)
        str_puts(out, "una");
    else if (h == 21)
        str_puts(out, "veintiuna");
    else
        str_printf(out, "%lld", h);
    if (min)
        str_printf(out, " y %lld", min);
    else if (m->group[4].n)
        str_puts(out, h == 1 ? " hora" : " horas");
    if (m->group[3].n) str_printf(out, " y %lld segundos", span_number(m->group[3]));
    return true;
}

/* Groups: 1 numerator, 2 denominator. */
static bool fraction(const struct match *m, struct str *out) {
    static const char *const counts[] = {"", "un", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"};
    static const char *const parts[] = {"",      "",        "medio",  "tercio", "cuarto", "quinto",
                                        "sexto", "séptimo", "octavo", "noveno", "décimo"};
    long long n = span_number(m->group[1]), d = span_number(m->group[2]);
    if (n < 1 || d < 2 || n >= d || d > 10) return false;
    str_printf(out, "%s %s", counts[n], parts[d]);
    if (n > 1) str_putc(out, 's');
    return true;
}

#define UNITS                                                                                                          \
    "km/h|m/"                                                                                                          \
    "s|[kc]?m[²³]|[kcmµn]?m|k?g|mg|t|[mc]?l|m?L|ha|[°º][CF]|°|K|[kKMGT]B|[kMG]?Hz|[kM]?W|kWh|V|A|dB|kcal|h|min|" \
    "m?s"

const struct rule rules_spanish[] = {
    {"[®™]", NULL, ""},
    {EMAIL, write_address, NULL},
    {URL, write_address, NULL},
    {HOST, write_address, NULL},

    {NOT_AFTER_WORD "p\\." GAP "?ej" DOT, NULL, "por ejemplo"},
    {NOT_AFTER_WORD "P\\." GAP "?ej" DOT, NULL, "Por ejemplo"},
    {NOT_AFTER_WORD "EE\\." GAP "?UU" DOT, NULL, "Estados Unidos"},
    {NOT_AFTER_WORD "EEUU\\b", NULL, "Estados Unidos"},
    {NOT_AFTER_WORD "a\\." GAP "?C" DOT, NULL, "antes de Cristo"},
    {NOT_AFTER_WORD "d\\." GAP "?C" DOT, NULL, "después de Cristo"},
    {"(?<=\\d)" GAP "?a\\." GAP "?m" DOT, NULL, " de la mañana"},
    {"(?<=\\d)" GAP "?p\\." GAP "?m" DOT, NULL, " de la tarde"},
    {NOT_AFTER_WORD "(?:n\\.?[º°]s?|n\\.?os)" GAP "?(?=\\d)", NULL, "número "},
    {NOT_AFTER_WORD "N\\.?[º°]s?" GAP "?(?=\\d)", NULL, "Número "},
    {NOT_AFTER_WORD "D\\.(?=" GAP "\\p{Lu})", NULL, "don"},
    {NOT_AFTER_WORD "D\\.?ª\\.?(?=" GAP "\\p{Lu})", NULL, "doña"},
    {NOT_AFTER_WORD "Dña\\.(?=" GAP "\\p{Lu})", NULL, "doña"},
    {NOT_AFTER_WORD "M\\.ª(?=" GAP "\\p{Lu})", NULL, "María"},
    {NOT_AFTER_WORD "c/ ?(?=\\p{Lu})", NULL, "calle "},
    {NOT_AFTER_WORD "C/ ?(?=\\p{Lu})", NULL, "Calle "},
    {NOT_AFTER_WORD "pp?\\.(?=" GAP "?\\d)", NULL, "página"},

    {"(?i)(?:\\btel(?:[ée]fono|\\.)?|\\bfax|\\bmóvil|\\bwhatsapp|\\bllam\\p{L}{1,6} al)(?: es(?: el)?)?:? "
     "\\K\\d{2,15}(?:[ ./-]{1,3}\\d{1,12}){0,6}" NOT_BEFORE_WORD,
     write_phone, NULL},
    {NOT_AFTER_NUMBER "(\\d{4})-(\\d{2})-(\\d{2})(?!\\d|-\\d)", date_year_first, NULL},
    {NOT_AFTER_NUMBER "(\\d{1,2})([./-])(\\d{1,2})\\2(\\d{4}|\\d{2})(?!\\d|[./-]\\d)", date_marked, NULL},
    {PHONE, write_phone, NULL},
    {NOT_AFTER_NUMBER "[6-9]\\d \\d{3} \\d{2} \\d{2}(?![\\p{L}\\d]| \\d)", write_phone, NULL},
    {NOT_AFTER_NUMBER "[6-9]\\d{2} \\d{2} \\d{2} \\d{2}(?![\\p{L}\\d]| \\d)", write_phone, NULL},
    {HYPHENATED_DIGITS, write_digits, NULL},
    {LONG_DIGITS, write_digits, NULL},

    {"(?<=\\d:\\d\\d) ?[–-] ?(?=\\d{1,2}:\\d\\d)", NULL, " a "},
    {"(?<=[\\d€$%‰°])[–—](?=\\d)", NULL, " a "},
    {"(?<![-\\p{L}\\d.,])(\\d{1,9})-(\\d{1,9})(?![-\\p{L}\\d]|[.,]\\d)", NULL, "$1 a $2"},
    {MINUS, NULL, "menos "},

    {NOT_AFTER_NUMBER "(\\d{1,2}):(\\d{2})(?::(\\d{2}))?(?![\\d:])(?:" GAP "?(h(?:oras)?)(?:\\.(?!" END
                      "))?" NOT_BEFORE_WORD ")?",
     time_of_day, NULL},
    {"(?<=\\blas |\\bLas )(\\d{1,2})\\.(\\d{2})()" GAP "?(h)?(?![\\p{L}\\d]|[.,]\\d)", time_of_day, NULL},
    {"(?<=\\bla |\\bLa )1(?= de la |[ ,.;!?]|\\z)(?![.,]\\d)", NULL, "una"},
    {NOT_AFTER_NUMBER "(\\d{1,4}):(\\d{1,4})(?![\\d:])", NULL, "$1 a $2"},

    {NOT_AFTER_WORD "([Ss]iglos?|s\\.) ([IVX]{1,7})" NOT_BEFORE_WORD, century, NULL},
    {"\\b(Felipe|Alfonso|Fernando|Carlos|Luis|Enrique|Juan|Juan Carlos|Juan Pablo|Pedro|Sancho|Jaime|Ramiro|Isabel|"
     "Catalina|Cristina|Margarita|Pablo|Pío|Benedicto|León|Gregorio|Napoleón|Guillermo|Eduardo|Jorge|Ricardo|Jacobo|"
     "Federico|Francisco|Nicolás|Alejandro|Iván|José|Clemente|Inocencio|Urbano|Ramsés) ([IVX]{1,6})" NOT_BEFORE_WORD,
     king, NULL},
    {NOT_AFTER_NUMBER "(\\d{1,2})(?:\\.(?=[ºª°aeo]))?(º|ª|er|°(?![CF]))" NOT_BEFORE_WORD, ordinal, NULL},
    {NOT_AFTER_NUMBER "(\\d{1,2})\\.?(o|a)(?= \\p{L}{4})" NOT_BEFORE_WORD, ordinal, NULL},

    {NOT_AFTER_NUMBER "(" NUMBER ")" GAP "?M(?=" GAP "?[€$£])", NULL, "$1 millones"},
    {"(" CURRENCY ")" GAP "?(" NUMBER ")( (?:millones|millón)\\b)?", write_money_before, NULL},
    {NOT_AFTER_NUMBER "(" NUMBER ")()(" GAP "(?:millones|millón))?" GAP "?(" CURRENCY ")", write_money_after, NULL},
    {NOT_AFTER_NUMBER "(" NUMBER ")" GAP "?(" UNITS "|[%‰])(?![\\p{L}\\p{N}/²³’'])", write_measure, NULL},
    {NOT_AFTER_NUMBER "1(?= (?:millón|euro|dólar|año|mes|día|minuto|segundo|metro|kilo)\\b)", NULL, "un"},
    {NOT_AFTER_NUMBER "1(?= (?:hora|semana|libra|persona|vez)\\b)", NULL, "una"},

    {"(?<![\\p{L}\\p{N}.-])(\\p{L}{2,5})\\.", write_abbreviation, NULL},

    {"(?<=\\d)½", NULL, " y medio"},
    {"(?<=\\d)¼", NULL, " y cuarto"},
    {"(?<=\\d)¾", NULL, " y tres cuartos"},
    {"½", NULL, "un medio"},
    {"¼", NULL, "un cuarto"},
    {"¾", NULL, "tres cuartos"},
    {"⅓", NULL, "un tercio"},
    {"⅔", NULL, "dos tercios"},
    {NOT_AFTER_NUMBER "(\\d)/(\\d{1,2})(?!\\d|[/.,]\\d)", fraction, NULL},
    {"(?<=\\d{4})/(?=\\d)", NULL, " "},
    {"(?<=\\d)/(?=\\d)", NULL, " entre "},

    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:\\.\\d{3}){1,5}(?![\\p{L}\\p{N}]|\\.\\d)", write_joined, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:" GAP "\\d{3}){1,5}(?![\\p{L}\\p{N}])", write_joined, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:,\\d{3}){2,5}(?![\\p{L}\\p{N}]|,\\d)", write_joined, NULL},
    {NOT_AFTER_NUMBER "[1-9]\\d{0,2}(?:,\\d{3}){1,5}(?=\\.\\d{1,2}(?!\\d))", write_joined, NULL},
    {NOT_AFTER_NUMBER "(\\d{1,18})([.,])(\\d{1,18})(?![\\d]|[.,]\\d)", write_decimal, NULL},
    {"(?<=\\d)\\.(?=\\d)", NULL, " punto "},
    {"(?<=\\d),(?=\\d)", NULL, ", "},
    {"(?<![\\p{L}\\p{N}])0\\d{1,30}(?!\\p{N})", write_digits, NULL},

    {"^& ?", NULL, "y "},
    {" ?& ?", NULL, " y "},
    {"(?<=\\d) ?[x×·] ?(?=\\d)", NULL, " por "},
    {" ?× ?", NULL, " por "},
    {" ?÷ ?", NULL, " entre "},
    {"(?<=\\S) = (?=\\S)", NULL, " igual a "},
    {"(?<=[\\p{L}\\p{N}])=(?=[\\p{L}\\p{N}])", NULL, " igual a "},
    {"(?<=[\\p{L}\\p{N}]) \\+ (?=[\\p{L}\\p{N}])", NULL, " más "},
    {"(?<=\\d)\\+(?=\\d)", NULL, " más "},
    {"(?<![\\p{L}\\p{N}])\\+(?=\\d)", NULL, "más "},
    {" ?± ?", NULL, " más menos "},
    {" ?≈ ?", NULL, " aproximadamente "},
    {"(?<![\\p{L}\\p{N}])~(?=\\d)", NULL, "unos "},
    {"§§?" GAP "?", NULL, "párrafo "},
    {GAP "?%", NULL, " por ciento"},
    {"#(?=\\d)", NULL, "número "},
    {"#(?=\\p{L})", NULL, "etiqueta "},
    {"(?:^|(?<=[\\s(]))@(?=\\p{L})", NULL, "arroba "},
    {" ?@ ?(?=\\p{L})", NULL, " arroba "},
    {"©" GAP "?", NULL, "copyright "},
    {"(?<=\\p{Ll})/(?=\\p{Ll})", NULL, " "},
};
const size_t n_rules_spanish = sizeof rules_spanish / sizeof *rules_spanish;
