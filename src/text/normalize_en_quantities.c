/* Money, measures and numbers in English. */
#include "text/normalize_en.h"

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

bool english_money_before(const struct match *m, struct str *out) {  // $5.99, US$3 million
    return write_money(m->group[1], m->group[2], m->group[3], m->group[4].p ? m->group[4] : m->group[5], out);
}

bool english_money_after(const struct match *m, struct str *out) {  // 5 €, 10 EUR
    return write_money(m->group[4], m->group[1], m->group[2], m->group[3], out);
}

bool english_cents(const struct match *m, struct str *out) {
    say_number(m->group[1], (struct span){0}, out);
    str_puts(out, span_number(m->group[1]) == 1 ? " cent" : " cents");
    return true;
}

// ---- quantities ----

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

bool english_unit(const struct match *m, struct str *out) {
    const struct unit *u = NULL;
    for (size_t i = 0; i < sizeof units / sizeof *units && !u; i++)
        if (span_is(m->group[3], units[i].written)) u = &units[i];
    if (!u) return false;
    say_number(m->group[1], m->group[2], out);
    str_printf(out, " %s", span_number(m->group[1]) == 1 && m->group[2].n == 0 ? u->one : u->many);
    return true;
}

bool english_feet_inches(const struct match *m, struct str *out) {  // 5'10"
    en_number(out, (int)span_number(m->group[1]));
    str_puts(out, span_number(m->group[1]) == 1 ? " foot " : " feet ");
    en_number(out, (int)span_number(m->group[2]));
    str_puts(out, span_number(m->group[2]) == 1 ? " inch" : " inches");
    return true;
}

bool english_percent(const struct match *m, struct str *out) {
    say_number(m->group[1], m->group[2], out);
    str_puts(out, " percent");
    return true;
}

bool english_scaled(const struct match *m, struct str *out) {  // 3.5k, 10M
    say_number(m->group[1], m->group[2], out);
    str_printf(out, " %s", scale_name(m->group[3]));
    return true;
}

bool english_ordinal(const struct match *m, struct str *out) {
    char digits[MAX_DIGITS];
    en_ordinal(out, digits, digits_of(m->group[1], digits));
    return true;
}

bool english_number(const struct match *m, struct str *out) {
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

bool english_fraction(const struct match *m, struct str *out) {  // 1/2, 2 3/4
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

bool english_vulgar_fraction(const struct match *m, struct str *out) {  // ½, 2½
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
