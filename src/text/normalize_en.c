/* English as it is said. The order of the rules matters: what has a shape of its own (addresses, dates, times, money)
   goes before plain numbers, and words only come after everything that is told by its digits. */
#include <string.h>
#include <strings.h>

#include "text/normalize_rules.h"
#include "text/numbers_en.h"

static bool word_is(struct span s, const char *word) {
    return s.p && s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

static struct span whole_match(const struct match *m) { return m->group[0]; }

enum { MAX_DIGITS = 64 };

// The digits of a span without commas and spaces, at most MAX_DIGITS.
static size_t digits_of(struct span s, char digits[MAX_DIGITS]) {
    size_t n = 0;
    for (size_t i = 0; i < s.n && n < MAX_DIGITS; i++)
        if (s.p[i] >= '0' && s.p[i] <= '9') digits[n++] = s.p[i];
    return n;
}

static void say_cardinal(struct span s, struct str *out) {
    char digits[MAX_DIGITS];
    en_cardinal(out, digits, digits_of(s, digits));
}

static void say_digits(struct span s, struct str *out) {
    char digits[MAX_DIGITS];
    en_digits(out, digits, digits_of(s, digits));
}

// "three point one four"
static void say_number(struct span whole, struct span fraction, struct str *out) {
    say_cardinal(whole, out);
    if (fraction.n == 0) return;
    str_puts(out, " point ");
    say_digits(fraction, out);
}

// A mark that ended the sentence as well as an abbreviation is put back.
static void keep_final_dot(const struct match *m, struct str *out) {
    if (m->end > 0 && m->text[m->end - 1] == '.' && m->end == m->len) str_putc(out, '.');
}

// ---- addresses ----

// Letters as they stand; digits one by one; signs by name.
static void spell_address(struct span s, struct str *out) {
    static const struct {
        char sign;
        const char *said;
    } signs[] = {{'.', " dot "},   {'/', " slash "},  {'-', " dash "},   {'_', " underscore "},
                 {'@', " at "},    {':', " colon "},  {'#', " hash "},   {'+', " plus "},
                 {'~', " tilde "}, {'=', " equals "}, {'%', " percent "}};
    for (size_t i = 0; i < s.n; i++) {
        const char *said = NULL;
        for (size_t k = 0; k < sizeof signs / sizeof *signs; k++)
            if (signs[k].sign == s.p[i]) said = signs[k].said;
        if (said) {
            str_puts(out, said);
        } else if (s.p[i] >= '0' && s.p[i] <= '9') {
            if (i > 0 && out->len > 0 && out->data[out->len - 1] != ' ') str_putc(out, ' ');
            say_digits((struct span){s.p + i, 1}, out);
            if (i + 1 < s.n && !strchr("./-_@:#+~=%", s.p[i + 1])) str_putc(out, ' ');
        } else {
            str_putc(out, s.p[i]);
        }
    }
    while (out->len > 0 && out->data[out->len - 1] == ' ') out->data[--out->len] = 0;
}

static bool write_url(const struct match *m, struct str *out) {
    struct span s = m->group[2];
    size_t query = 0;
    while (query < s.n && s.p[query] != '?' && s.p[query] != '#') query++;  // nobody says those
    s.n = query;
    size_t punctuation = m->group[2].n == s.n ? 0 : SIZE_MAX;
    while (punctuation != SIZE_MAX && s.n > 0 && strchr(".,;:!)/'\"", s.p[s.n - 1])) {
        if (s.p[s.n - 1] != '/') punctuation++;
        s.n--;
    }
    if (s.n == 0) return false;
    if (m->group[1].p && m->group[1].n == 4) str_puts(out, "w w w dot ");
    spell_address(s, out);
    if (punctuation != SIZE_MAX) str_append(out, m->text + m->end - punctuation, punctuation);
    return true;
}

static bool write_domain(const struct match *m, struct str *out) {
    spell_address(whole_match(m), out);
    return true;
}

static bool write_ip(const struct match *m, struct str *out) {
    for (int i = 1; i <= 4; i++) {
        if (span_number(m->group[i]) > 255) return false;
        if (i > 1) str_puts(out, " dot ");
        say_number(m->group[i], (struct span){0}, out);
    }
    return true;
}

// ---- digits that are no quantity ----

static bool write_digits(const struct match *m, struct str *out) {
    str_putc(out, ' ');
    say_digits(m->group[1], out);
    return true;
}

static bool write_phone(const struct match *m, struct str *out) {
    struct span s = whole_match(m);
    int digits = 0, groups = 0;
    for (size_t i = 0; i < s.n; i++) {
        bool digit = s.p[i] >= '0' && s.p[i] <= '9';
        digits += digit;
        groups += digit && (i == 0 || s.p[i - 1] < '0' || s.p[i - 1] > '9');
    }
    bool marked = s.p[0] == '+' || s.p[0] == '(';
    if (digits < 7 || digits > 15 || (groups < 3 && !marked && digits != 7)) return false;
    if (s.p[0] == '+') str_puts(out, "plus ");
    for (size_t i = 0, n; i < s.n; i += n) {
        for (n = 0; i + n < s.n && s.p[i + n] >= '0' && s.p[i + n] <= '9';) n++;
        if (n == 0) {
            n = 1;
            continue;
        }
        say_digits((struct span){s.p + i, n}, out);
        if (--groups > 0) str_puts(out, ", ");
    }
    return true;
}

static bool write_version(const struct match *m, struct str *out) {
    struct span s = m->group[2];
    if (m->group[1].p) str_puts(out, "version ");
    for (size_t i = 0, n; i < s.n; i += n + 1) {
        for (n = 0; i + n < s.n && s.p[i + n] != '.';) n++;
        if (i > 0) str_puts(out, " point ");
        say_number((struct span){s.p + i, n}, (struct span){0}, out);
    }
    return true;
}

// ---- dates ----

#define MONTHS                                                                                                   \
    "(Jan(?:uary|\\.)?|Feb(?:ruary|\\.)?|Mar(?:ch|\\.)?|Apr(?:il|\\.)?|May|June?\\.?|July?\\.?|Aug(?:ust|\\.)?|" \
    "Sept?(?:ember|\\.)?|Oct(?:ober|\\.)?|Nov(?:ember|\\.)?|Dec(?:ember|\\.)?)"

static const char *const months[] = {"January", "February", "March",     "April",   "May",      "June",
                                     "July",    "August",   "September", "October", "November", "December"};

static const char *month_name(struct span s) {
    for (int i = 0; i < 12; i++)
        if (s.n >= 3 && strncasecmp(s.p, months[i], 3) == 0) return months[i];
    return "";
}

static void write_year(struct span s, struct str *out) {
    long long year = span_number(s);
    if (s.n == 2)  // '24 after a day and a month: of this century up to 68, as POSIX has it
        year += year <= 68 ? 2000 : 1900;
    en_year(out, (int)year);
}

static bool write_numeric_date(struct span year, long long month, long long day, const struct match *m,
                               struct str *out) {
    const struct english *english = m->context;
    if (month < 1 || month > 12 || day < 1 || day > 31) return false;
    if (english->day_first) {
        str_puts(out, "the ");
        en_ordinal_number(out, (int)day);
        str_printf(out, " of %s, ", months[month - 1]);
    } else {
        str_printf(out, "%s ", months[month - 1]);
        en_ordinal_number(out, (int)day);
        str_puts(out, ", ");
    }
    write_year(year, out);
    return true;
}

static bool write_iso_date(const struct match *m, struct str *out) {
    return write_numeric_date(m->group[1], span_number(m->group[2]), span_number(m->group[3]), m, out);
}

// 3/4/2024: the language's order, unless only the other is possible.
static bool write_slash_date(const struct match *m, struct str *out) {
    const struct english *english = m->context;
    long long first = span_number(m->group[1]), second = span_number(m->group[2]);
    bool day_first = english->day_first ? second <= 12 : first > 12;
    return write_numeric_date(m->group[3], day_first ? second : first, day_first ? first : second, m, out);
}

static bool write_dot_date(const struct match *m, struct str *out) {
    return write_numeric_date(m->group[3], span_number(m->group[2]), span_number(m->group[1]), m, out);
}

static bool write_month_day(const struct match *m, struct str *out) {  // March 15, 2024
    long long day = span_number(m->group[2]);
    if (day < 1 || day > 31) return false;
    str_printf(out, "%s ", month_name(m->group[1]));
    en_ordinal_number(out, (int)day);
    if (!m->group[3].p) return true;
    str_puts(out, ", ");
    write_year(m->group[3], out);
    return true;
}

static bool write_day_month(const struct match *m, struct str *out) {  // (the) 15 March 2024
    long long day = span_number(m->group[2]);
    if (day < 1 || day > 31) return false;
    str_puts(out, "the ");
    en_ordinal_number(out, (int)day);
    str_printf(out, " of %s", month_name(m->group[3]));
    if (!m->group[4].p) return true;
    str_puts(out, ", ");
    write_year(m->group[4], out);
    return true;
}

static bool write_month_year(const struct match *m, struct str *out) {  // March 2024
    str_printf(out, "%s ", month_name(m->group[1]));
    write_year(m->group[2], out);
    return true;
}

static bool write_plain_year(const struct match *m, struct str *out) {
    en_year(out, (int)span_number(m->group[1]));
    return true;
}

static bool write_decade(const struct match *m, struct str *out) {  // 1990s, '90s, 2000s
    static const char *const names[] = {"hundreds", "tens",    "twenties",  "thirties", "forties",
                                        "fifties",  "sixties", "seventies", "eighties", "nineties"};
    long long century = m->group[1].p ? span_number(m->group[1]) : 0;
    int tens = m->group[2].p[0] - '0';
    if (century == 20 && tens == 0) {
        str_puts(out, "two thousands");
        return true;
    }
    if (century) {
        en_number(out, (int)century);
        str_putc(out, ' ');
    } else if (tens < 2) {
        return false;
    }
    str_puts(out, names[tens]);
    return true;
}

// ---- times ----

static void write_half_of_day(const struct match *m, struct span half, struct str *out) {
    if (!half.p) return;
    str_puts(out, half.p[0] == 'a' || half.p[0] == 'A' ? " a-m" : " p-m");  // so written, espeak-ng says the letters
    keep_final_dot(m, out);
}

static bool write_time(const struct match *m, struct str *out) {  // 10:30, 17:45:10, 10:30 p.m.
    long long hour = span_number(m->group[1]), minute = span_number(m->group[2]);
    en_number(out, (int)hour);
    if (minute > 0 || m->group[3].p) {
        str_puts(out, minute > 0 && minute < 10 ? " oh " : " ");
        en_number(out, (int)minute);
    } else if (!m->group[4].p) {
        str_puts(out, hour >= 1 && hour <= 12 ? " o'clock" : " hundred");
    }
    if (m->group[3].p) {
        str_puts(out, " and ");
        en_number(out, (int)span_number(m->group[3]));
        str_puts(out, span_number(m->group[3]) == 1 ? " second" : " seconds");
    }
    write_half_of_day(m, m->group[4], out);
    return true;
}

static bool write_hour(const struct match *m, struct str *out) {  // 9 a.m.
    en_number(out, (int)span_number(m->group[1]));
    write_half_of_day(m, m->group[2], out);
    return true;
}

// ---- money ----

struct currency {
    const char *sign, *one, *many, *cent, *cents;
};
static const struct currency currencies[] = {
    {"US$", "US dollar", "US dollars", "cent", "cents"},
    {"A$", "Australian dollar", "Australian dollars", "cent", "cents"},
    {"C$", "Canadian dollar", "Canadian dollars", "cent", "cents"},
    {"NZ$", "New Zealand dollar", "New Zealand dollars", "cent", "cents"},
    {"HK$", "Hong Kong dollar", "Hong Kong dollars", "cent", "cents"},
    {"$", "dollar", "dollars", "cent", "cents"},
    {"USD", "US dollar", "US dollars", "cent", "cents"},
    {"£", "pound", "pounds", "penny", "pence"},
    {"GBP", "pound", "pounds", "penny", "pence"},
    {"€", "euro", "euros", "cent", "cents"},
    {"EUR", "euro", "euros", "cent", "cents"},
    {"¥", "yen", "yen", NULL, NULL},
    {"JPY", "yen", "yen", NULL, NULL},
    {"₹", "rupee", "rupees", "paisa", "paise"},
    {"INR", "rupee", "rupees", "paisa", "paise"},
    {"₩", "won", "won", NULL, NULL},
    {"₽", "ruble", "rubles", "kopeck", "kopecks"},
    {"₿", "bitcoin", "bitcoins", NULL, NULL},
    {"CHF", "Swiss franc", "Swiss francs", "centime", "centimes"},
};

static const char *scale_name(struct span s) {
    if (!s.p) return NULL;
    if (word_is(s, "thousand") || word_is(s, "k")) return "thousand";
    if (word_is(s, "million") || word_is(s, "m") || word_is(s, "mn")) return "million";
    if (word_is(s, "billion") || word_is(s, "b") || word_is(s, "bn")) return "billion";
    return "trillion";
}

static bool write_money(struct span sign, struct span whole, struct span fraction, struct span scale, struct str *out) {
    const struct currency *c = NULL;
    for (size_t i = 0; i < sizeof currencies / sizeof *currencies && !c; i++)
        if (span_is(sign, currencies[i].sign)) c = &currencies[i];
    if (!c) return false;
    long long amount = span_number(whole);
    if (scale.p) {
        say_number(whole, fraction, out);
        str_printf(out, " %s %s", scale_name(scale), c->many);
    } else if (fraction.n == 2 && c->cent && amount >= 0) {
        long long cents = span_number(fraction);
        if (amount > 0 || cents == 0) {
            say_cardinal(whole, out);
            str_printf(out, " %s", amount == 1 ? c->one : c->many);
        }
        if (cents > 0) {
            if (amount > 0) str_puts(out, " and ");
            en_number(out, (int)cents);
            str_printf(out, " %s", cents == 1 ? c->cent : c->cents);
        }
    } else {
        say_number(whole, fraction, out);
        str_printf(out, " %s", amount == 1 && fraction.n == 0 ? c->one : c->many);
    }
    return true;
}

static bool write_money_before(const struct match *m, struct str *out) {  // $5.99, US$3 million
    return write_money(m->group[1], m->group[2], m->group[3], m->group[4].p ? m->group[4] : m->group[5], out);
}

static bool write_money_after(const struct match *m, struct str *out) {  // 5 €, 10 EUR
    return write_money(m->group[4], m->group[1], m->group[2], m->group[3], out);
}

static bool write_cents(const struct match *m, struct str *out) {
    say_number(m->group[1], (struct span){0}, out);
    str_puts(out, span_number(m->group[1]) == 1 ? " cent" : " cents");
    return true;
}

// ---- quantities ----

#define WHOLE "(\\d{1,3}(?:,\\d{3}){1,6}|\\d{1,30})"
#define FRACTION "(?:\\.(\\d{1,30}))?"

struct unit {
    const char *written, *one, *many;
};
static const struct unit units[] = {
    {"km/h", "kilometer per hour", "kilometers per hour"},
    {"kph", "kilometer per hour", "kilometers per hour"},
    {"mph", "mile per hour", "miles per hour"},
    {"m/s", "meter per second", "meters per second"},
    {"km²", "square kilometer", "square kilometers"},
    {"km2", "square kilometer", "square kilometers"},
    {"m²", "square meter", "square meters"},
    {"m2", "square meter", "square meters"},
    {"cm²", "square centimeter", "square centimeters"},
    {"cm2", "square centimeter", "square centimeters"},
    {"m³", "cubic meter", "cubic meters"},
    {"m3", "cubic meter", "cubic meters"},
    {"sq ft", "square foot", "square feet"},
    {"km", "kilometer", "kilometers"},
    {"cm", "centimeter", "centimeters"},
    {"mm", "millimeter", "millimeters"},
    {"µm", "micrometer", "micrometers"},
    {"μm", "micrometer", "micrometers"},
    {"nm", "nanometer", "nanometers"},
    {"m", "meter", "meters"},
    {"mi", "mile", "miles"},
    {"ft", "foot", "feet"},
    {"yd", "yard", "yards"},
    {"yds", "yard", "yards"},
    {"kg", "kilogram", "kilograms"},
    {"mg", "milligram", "milligrams"},
    {"µg", "microgram", "micrograms"},
    {"μg", "microgram", "micrograms"},
    {"g", "gram", "grams"},
    {"lb", "pound", "pounds"},
    {"lbs", "pound", "pounds"},
    {"oz", "ounce", "ounces"},
    {"ml", "milliliter", "milliliters"},
    {"mL", "milliliter", "milliliters"},
    {"cl", "centiliter", "centiliters"},
    {"l", "liter", "liters"},
    {"L", "liter", "liters"},
    {"gal", "gallon", "gallons"},
    {"ha", "hectare", "hectares"},
    {"°C", "degree Celsius", "degrees Celsius"},
    {"°F", "degree Fahrenheit", "degrees Fahrenheit"},
    {"°", "degree", "degrees"},
    {"Hz", "hertz", "hertz"},
    {"kHz", "kilohertz", "kilohertz"},
    {"MHz", "megahertz", "megahertz"},
    {"GHz", "gigahertz", "gigahertz"},
    {"W", "watt", "watts"},
    {"kW", "kilowatt", "kilowatts"},
    {"MW", "megawatt", "megawatts"},
    {"GW", "gigawatt", "gigawatts"},
    {"kWh", "kilowatt hour", "kilowatt hours"},
    {"V", "volt", "volts"},
    {"mV", "millivolt", "millivolts"},
    {"mA", "milliampere", "milliamperes"},
    {"mAh", "milliampere hour", "milliampere hours"},
    {"kB", "kilobyte", "kilobytes"},
    {"KB", "kilobyte", "kilobytes"},
    {"MB", "megabyte", "megabytes"},
    {"GB", "gigabyte", "gigabytes"},
    {"TB", "terabyte", "terabytes"},
    {"PB", "petabyte", "petabytes"},
    {"KiB", "kibibyte", "kibibytes"},
    {"MiB", "mebibyte", "mebibytes"},
    {"GiB", "gibibyte", "gibibytes"},
    {"kbps", "kilobit per second", "kilobits per second"},
    {"Mbps", "megabit per second", "megabits per second"},
    {"Gbps", "gigabit per second", "gigabits per second"},
    {"ms", "millisecond", "milliseconds"},
    {"µs", "microsecond", "microseconds"},
    {"μs", "microsecond", "microseconds"},
    {"s", "second", "seconds"},
    {"sec", "second", "seconds"},
    {"min", "minute", "minutes"},
    {"h", "hour", "hours"},
    {"hr", "hour", "hours"},
    {"hrs", "hour", "hours"},
    {"cal", "calorie", "calories"},
    {"kcal", "kilocalorie", "kilocalories"},
    {"Pa", "pascal", "pascals"},
    {"kPa", "kilopascal", "kilopascals"},
    {"hPa", "hectopascal", "hectopascals"},
    {"psi", "pound per square inch", "pounds per square inch"},
    {"dB", "decibel", "decibels"},
    {"fps", "frame per second", "frames per second"},
    {"rpm", "revolution per minute", "revolutions per minute"},
    {"px", "pixel", "pixels"},
};

static bool write_unit(const struct match *m, struct str *out) {
    const struct unit *u = NULL;
    for (size_t i = 0; i < sizeof units / sizeof *units && !u; i++)
        if (span_is(m->group[3], units[i].written)) u = &units[i];
    if (!u) return false;
    say_number(m->group[1], m->group[2], out);
    str_printf(out, " %s", span_number(m->group[1]) == 1 && m->group[2].n == 0 ? u->one : u->many);
    return true;
}

static bool write_feet_inches(const struct match *m, struct str *out) {  // 5'10"
    en_number(out, (int)span_number(m->group[1]));
    str_puts(out, span_number(m->group[1]) == 1 ? " foot " : " feet ");
    en_number(out, (int)span_number(m->group[2]));
    str_puts(out, span_number(m->group[2]) == 1 ? " inch" : " inches");
    return true;
}

static bool write_percent(const struct match *m, struct str *out) {
    say_number(m->group[1], m->group[2], out);
    str_puts(out, " percent");
    return true;
}

static bool write_scaled(const struct match *m, struct str *out) {  // 3.5k, 10M
    say_number(m->group[1], m->group[2], out);
    str_printf(out, " %s", scale_name(m->group[3]));
    return true;
}

static bool write_ordinal(const struct match *m, struct str *out) {
    char digits[MAX_DIGITS];
    en_ordinal(out, digits, digits_of(m->group[1], digits));
    return true;
}

static bool write_number(const struct match *m, struct str *out) {
    say_number(m->group[1], m->group[2], out);
    return true;
}

// One of something split in n: "half", "third".
static void write_parts(long long numerator, long long denominator, struct str *out) {
    en_number(out, (int)numerator);
    str_putc(out, ' ');
    if (denominator == 2) {
        str_puts(out, numerator == 1 ? "half" : "halves");
        return;
    }
    if (denominator == 4)
        str_puts(out, "quarter");
    else
        en_ordinal_number(out, (int)denominator);
    if (numerator != 1) str_putc(out, 's');
}

static bool write_fraction(const struct match *m, struct str *out) {  // 1/2, 2 3/4
    long long whole = m->group[1].p ? span_number(m->group[1]) : 0;
    long long numerator = span_number(m->group[2]), denominator = span_number(m->group[3]);
    if (denominator < 2 || numerator < 1) return false;
    bool usual = denominator <= 10 || denominator == 12 || denominator == 16 || denominator == 20 || denominator == 100;
    if (whole == 0 && (numerator >= denominator || !usual)) {  // 24/7, 9/11 are said as two numbers
        en_number(out, (int)numerator);
        str_putc(out, ' ');
        en_number(out, (int)denominator);
        return true;
    }
    if (whole > 0) {
        en_number(out, (int)whole);
        str_puts(out, " and ");
        if (numerator == 1 && denominator == 2) {
            str_puts(out, "a half");
            return true;
        }
    }
    write_parts(numerator, denominator, out);
    return true;
}

static bool write_vulgar_fraction(const struct match *m, struct str *out) {  // ½, 2½
    static const struct {
        const char *sign;
        int numerator, denominator;
    } signs[] = {{"½", 1, 2}, {"⅓", 1, 3}, {"⅔", 2, 3}, {"¼", 1, 4}, {"¾", 3, 4}, {"⅕", 1, 5}, {"⅖", 2, 5},
                 {"⅗", 3, 5}, {"⅘", 4, 5}, {"⅙", 1, 6}, {"⅛", 1, 8}, {"⅜", 3, 8}, {"⅝", 5, 8}, {"⅞", 7, 8}};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        if (!span_is(m->group[2], signs[i].sign)) continue;
        bool whole = m->group[1].p != NULL;
        if (whole) {
            say_number(m->group[1], (struct span){0}, out);
            str_puts(out, " and ");
        }
        if (whole && i == 0)
            str_puts(out, "a half");
        else
            write_parts(signs[i].numerator, signs[i].denominator, out);
        return true;
    }
    return false;
}

// ---- Roman numerals ----

static int roman_value(struct span s) {
    static const struct {
        const char *letters;
        int value;
    } digits[] = {{"XC", 90}, {"L", 50}, {"XL", 40}, {"X", 10}, {"IX", 9}, {"V", 5}, {"IV", 4}, {"I", 1}};
    int value = 0;
    size_t at = 0;
    for (size_t k = 0; k < sizeof digits / sizeof *digits; k++) {
        size_t n = strlen(digits[k].letters);
        int times = 0;
        while (at + n <= s.n && memcmp(s.p + at, digits[k].letters, n) == 0 &&
               times < (n == 1 && digits[k].value != 50 && digits[k].value != 5 ? 3 : 1)) {
            value += digits[k].value;
            at += n;
            times++;
        }
    }
    return at == s.n ? value : 0;
}

// "I" before a word is somebody speaking, but for "Elizabeth I of England".
static bool is_pronoun(const struct match *m) {
    return m->end + 1 < m->len && m->text[m->end] == ' ' && strncmp(m->text + m->end, " of ", 4) != 0;
}

static bool write_king(const struct match *m, struct str *out) {  // Henry VIII
    int value = roman_value(m->group[2]);
    if (value == 0 || (value == 1 && is_pronoun(m))) return false;
    str_append(out, m->group[1].p, m->group[1].n);
    str_puts(out, " the ");
    en_ordinal_number(out, (int)value);
    return true;
}

static bool write_part(const struct match *m, struct str *out) {  // Chapter IV, World War II
    int value = roman_value(m->group[2]);
    if (value == 0) return false;
    str_append(out, m->group[1].p, m->group[1].n);
    str_putc(out, ' ');
    en_number(out, (int)value);
    return true;
}

// ---- letters ----

// Words that people write in capitals and say as words; all others are left to espeak-ng, which spells them.
static bool write_shout(const struct match *m, struct str *out) {
    static const char *const known[] = {"NASA",  "NATO",  "OPEC",  "FIFA",  "UEFA",  "AIDS",   "UNESCO", "UNICEF",
                                        "COVID", "HTTPS", "ASCII", "NAFTA", "POTUS", "SCOTUS", "CAPTCHA"};
    struct span s = m->group[0];
    bool vowel = false;
    for (size_t i = 0; i < s.n; i++) vowel |= strchr("AEIOUY", s.p[i]) != NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (span_is(s, known[i])) vowel = true;
    if (!vowel) return false;
    for (size_t i = 0; i < s.n; i++) str_putc(out, (char)(i == 0 ? s.p[i] : s.p[i] | 0x20));
    return true;
}

static bool write_dotted(const struct match *m, struct str *out) {  // U.S.A., Ph.D. becomes USA, PhD
    struct span s = whole_match(m);
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != '.') str_putc(out, s.p[i]);
    keep_final_dot(m, out);
    return true;
}

static bool write_code(const struct match *m, struct str *out) {  // 0x1F: each character
    struct span s = whole_match(m);
    for (size_t i = 0; i < s.n; i++) {
        if (i > 0) str_putc(out, ' ');
        if (s.p[i] >= '0' && s.p[i] <= '9')
            say_digits((struct span){s.p + i, 1}, out);
        else
            str_putc(out, s.p[i]);
    }
    return true;
}

// An abbreviation as the word it stands for; the dot stays where it ends the sentence too.
struct abbreviation {
    const char *written, *said;
};
static const struct abbreviation abbreviations[] = {
    {"Dr.", "Doctor"},        {"Mr.", "Mister"},       {"Mrs.", "Missus"},         {"Ms.", "Miss"},
    {"Prof.", "Professor"},   {"Sr.", "Senior"},       {"Jr.", "Junior"},          {"vs.", "versus"},
    {"etc.", "et cetera"},    {"e.g.", "for example"}, {"i.e.", "that is"},        {"approx.", "approximately"},
    {"dept.", "department"},  {"Dept.", "Department"}, {"est.", "established"},    {"fig.", "figure"},
    {"Fig.", "Figure"},       {"Gen.", "General"},     {"Gov.", "Governor"},       {"Hon.", "Honorable"},
    {"Inc.", "Incorporated"}, {"Ltd.", "Limited"},     {"Corp.", "Corporation"},   {"Lt.", "Lieutenant"},
    {"Col.", "Colonel"},      {"Capt.", "Captain"},    {"Sgt.", "Sergeant"},       {"Maj.", "Major"},
    {"Rev.", "Reverend"},     {"Sen.", "Senator"},     {"Rep.", "Representative"}, {"Ave.", "Avenue"},
    {"Blvd.", "Boulevard"},   {"Rd.", "Road"},         {"Mt.", "Mount"},           {"Ft.", "Fort"},
    {"cf.", "compare"},       {"al.", "al"},           {"ca.", "circa"},           {"Vol.", "Volume"},
    {"vol.", "volume"},       {"Mon.", "Monday"},      {"Tue.", "Tuesday"},        {"Tues.", "Tuesday"},
    {"Wed.", "Wednesday"},    {"Thu.", "Thursday"},    {"Thurs.", "Thursday"},     {"Fri.", "Friday"},
    {"Jan.", "January"},      {"Feb.", "February"},    {"Aug.", "August"},         {"Sept.", "September"},
    {"Oct.", "October"},      {"Nov.", "November"},    {"Dec.", "December"},       {"Nr.", "number"},
};

static bool write_abbreviation(const struct match *m, struct str *out) {
    for (size_t i = 0; i < sizeof abbreviations / sizeof *abbreviations; i++) {
        if (!span_is(m->group[1], abbreviations[i].written)) continue;
        str_puts(out, abbreviations[i].said);
        keep_final_dot(m, out);
        return true;
    }
    return false;
}

// "St. Paul" is a saint, "Main St." a street: a name stands before it.
static bool write_street(const struct match *m, struct str *out) {
    static const char *const no_names[] = {"The",  "At",    "In",   "To",   "From", "And", "Of",
                                           "Near", "Mount", "Cape", "Port", "Fort", "Lake"};
    struct span name = m->group[1];
    bool street = m->begin > 0;
    for (size_t i = 0; i < sizeof no_names / sizeof *no_names; i++) street &= !span_is(name, no_names[i]);
    str_append(out, name.p, name.n);
    str_puts(out, street ? " Street" : " Saint");
    keep_final_dot(m, out);
    return true;
}

#define KINGS                                                                                                        \
    "(Henry|Louis|Elizabeth|George|Charles|James|William|Edward|Richard|Philip|Paul|John "                           \
    "Paul|Pius|Benedict|Gregory|Leo|"                                                                                \
    "Innocent|Clement|Urban|Alexander|Nicholas|Peter|Catherine|Ivan|Frederick|Francis|Ferdinand|Napoleon|Otto|Karl|" \
    "Carlos|"                                                                                                        \
    "Felipe|Alfonso|Mary|Ramses|Ptolemy|Darius|Xerxes|Leopold|Gustav|Christian|Haakon|Harald|Oscar|Robert|Stephen|"  \
    "Sixtus|"                                                                                                        \
    "Julius|Boniface|Martin|Adrian|Wilhelm|Maximilian|Umberto|Pedro|Selim|Mehmed)"
#define PARTS                                                                                                          \
    "([Cc]hapter|[Pp]art|[Aa]ct|[Ss]cene|[Vv]olume|[Bb]ook|[Ss]ection|[Pp]hase|[Tt]ype|[Cc]lass|[Ll]evel|[Ss]tage|"    \
    "[Aa]rticle|[Tt]itle|[Aa]ppendix|[Ff]igure|[Tt]able|War|Bowl|[Ee]pisode|[Ss]eason|[Gg]rade|[Gg]roup|[Uu]nit|Mark|" \
    "[Vv]ersion|[Ss]onata|[Ss]ymphony)"
#define ROMAN "([XVIL]{1,8})"
#define NUMBER_BEFORE "(?<![\\w.,])"
#define TIGHT "(?!\\w)"

const struct rule rules_english[] = {
    // addresses
    {"(?i)\\b[\\w.+-]{1,64}@[\\w-]{1,63}(?:\\.[\\w-]{1,63}){1,5}", write_domain, NULL},
    {"(?i)(?:\\bhttps?://)(www\\.)?([^\\s<>\"]{1,500})", write_url, NULL},
    {"(?i)\\b(www\\.)([^\\s<>\"]{1,500})", write_url, NULL},
    {"(?i)(?<![\\w@.])[a-z0-9-]{1,63}(?:\\.[a-z0-9-]{1,63}){0,4}\\.(?:com|org|net|edu|gov|io|dev|app|ai|info|co\\.uk)(?"
     ":/[\\w./~-]{0,200}\\w)?"
     "(?![\\w])",
     write_domain, NULL},
    {NUMBER_BEFORE "(\\d{1,3})\\.(\\d{1,3})\\.(\\d{1,3})\\.(\\d{1,3})(?![\\w.]\\d|\\w)", write_ip, NULL},
    // dates
    {NUMBER_BEFORE "(\\d{4})-(\\d{2})-(\\d{2})(?![\\w-])", write_iso_date, NULL},
    {NUMBER_BEFORE "(\\d{1,2})/(\\d{1,2})/(\\d{4}|\\d{2})(?![\\w/])", write_slash_date, NULL},
    {NUMBER_BEFORE "(\\d{1,2})\\.(\\d{1,2})\\.(\\d{4})" TIGHT, write_dot_date, NULL},
    {"\\b" MONTHS "\\s{1,3}(\\d{1,2})(?:st|nd|rd|th)?(?:,?\\s{1,3}(\\d{4})(?!\\d))?(?![\\w:%]|[.,]\\d|-\\d)",
     write_month_day, NULL},
    {"\\b(the\\s{1,3})?(\\d{1,2})(?:st|nd|rd|th)?\\s{1,3}(?:of\\s{1,3})?" MONTHS "(?:,?\\s{1,3}(\\d{4}))?(?!\\w)",
     write_day_month, NULL},
    {"\\b" MONTHS ",?\\s{1,3}(\\d{4})(?!\\w)", write_month_year, NULL},
    {"(?<![\\w.,$£€])['’]?(\\d{2})?(\\d)0'?s" TIGHT, write_decade, NULL},
    // telephone numbers, and other digits that are no quantity
    {"(?i)(?<=ISBN|ISBN:|EAN)\\s([\\d-]{8,17}\\d)(?!\\w)", write_digits, NULL},
    {"(?<![\\w.,/-])(?:\\+\\d{1,3}[ .-]?)?(?:\\(\\d{2,5}\\)[ -]?)?\\d{2,5}(?:[ -]\\d{2,5}){1,5}(?![\\w]|[.,/-]\\d)",
     write_phone, NULL},
    {"\\b0x[0-9A-Fa-f]{1,16}\\b", write_code, NULL},
    {"(?i)(?<![\\w.])(v\\.?\\s?)?(\\d{1,4}(?:\\.\\d{1,4}){2,5})(?![\\w.]\\d|\\w)", write_version, NULL},
    // times
    {NUMBER_BEFORE "([01]?\\d|2[0-3]):([0-5]\\d)(?::([0-5]\\d))?(?:\\s?([AaPp]\\.?[Mm]\\b\\.?))?(?![\\w:])", write_time,
     NULL},
    {NUMBER_BEFORE "(1[0-2]|[1-9])\\.([0-5]\\d)(x^)?\\s?([AaPp]\\.[Mm]\\.|[AaPp][Mm]\\b)", write_time, NULL},
    {NUMBER_BEFORE "(1[0-2]|[1-9])\\s?([AaPp]\\.[Mm]\\.|[AaPp][Mm]\\b)", write_hour, NULL},
    // money
    {"(US\\$|NZ\\$|HK\\$|A\\$|C\\$|[$£€¥₹₩₽₿])\\s?" WHOLE FRACTION
     "(?:[\\s-]?(thousand|million|billion|trillion)\\b|(k|K|m|M|bn|B)\\b)?",
     write_money_before, NULL},
    {NUMBER_BEFORE WHOLE FRACTION
     "\\s?(thousand|million|billion|trillion)?\\s?([$£€¥₹]|(?:USD|EUR|GBP|JPY|INR|CHF)\\b)",
     write_money_after, NULL},
    {NUMBER_BEFORE "(\\d{1,3})\\s?¢", write_cents, NULL},
    // minus signs, and ranges
    {"(?<=\\d) [-−] (?=\\d)", NULL, " minus "},
    {"(?<=\\d)\\s?\\*\\s?(?=\\d)", NULL, " times "},
    {"\\bC#", NULL, "C sharp"},
    {"(?<![\\w)\\]])[-−](?=\\d)", NULL, "minus "},
    {"(?<=\\d)\\s?–\\s?(?=[$£€]?\\d)", NULL, " to "},
    {"(?<=\\d)[-—](?=\\d)", NULL, " to "},
    // quantities
    {NUMBER_BEFORE "(\\d{1,2})['′]\\s?(\\d{1,2})[\"″]", write_feet_inches, NULL},
    {NUMBER_BEFORE WHOLE FRACTION "\\s?%", write_percent, NULL},
    {NUMBER_BEFORE WHOLE FRACTION
     "[\\s-]?(km/h|kph|mph|m/s|km²|km2|m²|m2|cm²|cm2|m³|m3|sq ft|km|cm|mm|µm|μm|nm|mi|ft|yds?|kg|mg|µg|μg|lbs?|oz|"
     "m[lL]|cl|gal|ha|°\\s?[CF]|°|[kMG]?Hz|[kMG]?W|kWh|m?V|mAh?|[kKMGTP]B|[KMG]iB|[kMG]bps|ms|µs|μs|sec|min|hrs?|k?cal|"
     "[kh]?Pa|psi|dB|fps|rpm|px|"
     "[mglLsh])(?![\\w/²³'])",
     write_unit, NULL},
    {"(?<![\\w/])(?:(\\d{1,4})\\s)?(\\d{1,3})/(\\d{1,4})(?![\\w/])", write_fraction, NULL},
    {"(?:(\\d{1,6})\\s?)?([½⅓⅔¼¾⅕⅖⅗⅘⅙⅛⅜⅝⅞])", write_vulgar_fraction, NULL},
    {NUMBER_BEFORE WHOLE "(?:st|nd|rd|th)" TIGHT, write_ordinal, NULL},
    {NUMBER_BEFORE WHOLE FRACTION "\\s?(k|K|bn|M|B)" TIGHT, write_scaled, NULL},
    // names with numbers
    {"\\b" KINGS "\\s" ROMAN "(?!\\w)", write_king, NULL},
    {"\\b" PARTS "\\s" ROMAN "(?!\\w)", write_part, NULL},
    {"\\b([A-Z][a-z]{2,20})\\s((?:II|III|IV|VI|VII|VIII|IX|XI{1,3}|XIV|XVI{0,3}|XIX|XX))(?!\\w)", write_part, NULL},
    {"\\b[Nn]os?\\.\\s?(?=\\d)", NULL, "number "},
    {"№\\s?", NULL, "number "},
    {"#(?=\\d)", NULL, "number "},
    {"#(?=\\w)", NULL, "hashtag "},
    {"(?<!\\w)@(?=\\w)", NULL, "at "},
    // plain numbers: what looks like a year is read as one
    {"(?<![\\w.,$£€-])(1[1-9]\\d{2}|20\\d{2})(?![\\w,]\\d|\\.\\d|\\w)", write_plain_year, NULL},
    {"(?<![\\d.])\\.(?=\\d)", NULL, "0."},
    {"(?<=[A-Za-z])(?=\\d)", NULL, " "},
    {"(?<=\\d)(?=[A-Za-z])", NULL, " "},
    {"(?<![\\d,])(\\d{1,9}),(\\d{1,2})(?![\\d,])", write_number, NULL},  // a decimal comma
    {WHOLE FRACTION, write_number, NULL},
    {"(?<=\\p{L})-(?= )", NULL, ""},
    // abbreviations
    {"(?<![\\w.])(e\\.g\\.|i\\.e\\.)", write_abbreviation, NULL},
    {"\\b([A-Z][a-z]{1,20})\\sSt\\.", write_street, NULL},
    {"\\bSt\\.", NULL, "Saint"},
    {"(?<![\\w.])([A-Z]?[a-z]{1,7}\\.)(?=\\s|$|[,;:!?)])", write_abbreviation, NULL},
    {"\\bPh\\.\\s?D\\.?", NULL, "PhD"},
    {"(?<![\\w.])(?:[A-Z]\\.){2,8}", write_dotted, NULL},
    {"(?<![\\w.])([A-Z])\\.(?=\\s[A-Z])", NULL, "$1"},
    {"\\bw/o\\s", NULL, "without "},
    {"\\bw/\\s?", NULL, "with "},
    {"\\ba/k/a\\b", NULL, "also known as"},
    // words in capitals: six letters and more are words, fewer are left to espeak-ng
    {"\\b(?:NASA|NATO|OPEC|FIFA|UEFA|AIDS|COVID|ASCII|NAFTA|POTUS)\\b", write_shout, NULL},
    {"\\b[A-Z]{6,40}\\b", write_shout, NULL},
    // signs
    {"\\s?&\\s?", NULL, " and "},
    {"\\s?\\+\\s?", NULL, " plus "},
    {"\\s?=\\s?", NULL, " equals "},
    {"\\s?×\\s?", NULL, " times "},
    {"\\s?÷\\s?", NULL, " divided by "},
    {"\\s?±\\s?", NULL, " plus or minus "},
    {"\\s?≈\\s?", NULL, " about "},
    {"~(?=\\w)", NULL, "about "},
    {"\\s?<\\s?", NULL, " less than "},
    {"\\s?>\\s?", NULL, " greater than "},
    {"\\s?%", NULL, " percent"},
    {"§\\s?", NULL, "section "},
    {"©\\s?", NULL, "copyright "},
    {"\\s?°", NULL, " degrees"},
    {"\\s?[®™]", NULL, ""},
    {"\\band/or\\b", NULL, "and or"},
    {"(?<=\\w)/(?=\\w)", NULL, " slash "},
    {"@", NULL, " at "},
    {"\\s?[*^|\\\\_~#<>•$£€¥]{1,20}\\s?", NULL, " "},
    {" {2,200}", NULL, " "},
    {" (?=[.,;!?](?: |$))", NULL, ""},
    {"^ | $", NULL, ""},
};
const size_t n_rules_english = sizeof rules_english / sizeof *rules_english;
