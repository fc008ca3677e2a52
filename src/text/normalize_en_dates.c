/* Dates and times in English. */
#include "text/normalize_en.h"

// ---- dates ----

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

bool english_iso_date(const struct match *m, struct str *out) {
    return write_numeric_date(m->group[1], span_number(m->group[2]), span_number(m->group[3]), m, out);
}

// 3/4/2024: the language's order, unless only the other is possible.
bool english_slash_date(const struct match *m, struct str *out) {
    const struct english *english = m->context;
    long long first = span_number(m->group[1]), second = span_number(m->group[2]);
    bool day_first = english->day_first ? second <= 12 : first > 12;
    return write_numeric_date(m->group[3], day_first ? second : first, day_first ? first : second, m, out);
}

bool english_dot_date(const struct match *m, struct str *out) {
    return write_numeric_date(m->group[3], span_number(m->group[2]), span_number(m->group[1]), m, out);
}

bool english_month_day(const struct match *m, struct str *out) {  // March 15, 2024
    long long day = span_number(m->group[2]);
    if (day < 1 || day > 31) return false;
    str_printf(out, "%s ", month_name(m->group[1]));
    en_ordinal_number(out, (int)day);
    if (!m->group[3].p) return true;
    str_puts(out, ", ");
    write_year(m->group[3], out);
    return true;
}

bool english_day_month(const struct match *m, struct str *out) {  // (the) 15 March 2024
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

bool english_month_year(const struct match *m, struct str *out) {  // March 2024
    str_printf(out, "%s ", month_name(m->group[1]));
    write_year(m->group[2], out);
    return true;
}

bool english_plain_year(const struct match *m, struct str *out) {
    en_year(out, (int)span_number(m->group[1]));
    return true;
}

bool english_decade(const struct match *m, struct str *out) {  // 1990s, '90s, 2000s
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

bool english_time(const struct match *m, struct str *out) {  // 10:30, 17:45:10, 10:30 p.m.
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

bool english_hour(const struct match *m, struct str *out) {  // 9 a.m.
    en_number(out, (int)span_number(m->group[1]));
    write_half_of_day(m, m->group[2], out);
    return true;
}
