/* English as it is said. The order of the rules matters: what has a shape of its own (addresses, dates, times, money)
   goes before plain numbers, and words only come after everything that is told by its digits. */
#include "text/normalize_en.h"

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

// ---- the rules ----

#define MONTHS                                                                                                   \
    "(Jan(?:uary|\\.)?|Feb(?:ruary|\\.)?|Mar(?:ch|\\.)?|Apr(?:il|\\.)?|May|June?\\.?|July?\\.?|Aug(?:ust|\\.)?|" \
    "Sept?(?:ember|\\.)?|Oct(?:ober|\\.)?|Nov(?:ember|\\.)?|Dec(?:ember|\\.)?)"
#define WHOLE "(\\d{1,3}(?:,\\d{3}){1,6}|\\d{1,30})"
#define FRACTION "(?:\\.(\\d{1,30}))?"
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
    {NUMBER_BEFORE "(\\d{4})-(\\d{2})-(\\d{2})(?![\\w-])", english_iso_date, NULL},
    {NUMBER_BEFORE "(\\d{1,2})/(\\d{1,2})/(\\d{4}|\\d{2})(?![\\w/])", english_slash_date, NULL},
    {NUMBER_BEFORE "(\\d{1,2})\\.(\\d{1,2})\\.(\\d{4})" TIGHT, english_dot_date, NULL},
    {"\\b" MONTHS "\\s{1,3}(\\d{1,2})(?:st|nd|rd|th)?(?:,?\\s{1,3}(\\d{4})(?!\\d))?(?![\\w:%]|[.,]\\d|-\\d)",
     english_month_day, NULL},
    {"\\b(the\\s{1,3})?(\\d{1,2})(?:st|nd|rd|th)?\\s{1,3}(?:of\\s{1,3})?" MONTHS "(?:,?\\s{1,3}(\\d{4}))?(?!\\w)",
     english_day_month, NULL},
    {"\\b" MONTHS ",?\\s{1,3}(\\d{4})(?!\\w)", english_month_year, NULL},
    {"(?<![\\w.,$£€])['’]?(\\d{2})?(\\d)0'?s" TIGHT, english_decade, NULL},
    // telephone numbers, and other digits that are no quantity
    {"(?i)(?<=ISBN|ISBN:|EAN)\\s([\\d-]{8,17}\\d)(?!\\w)", write_digits, NULL},
    {"(?<![\\w.,/-])(?:\\+\\d{1,3}[ .-]?)?(?:\\(\\d{2,5}\\)[ -]?)?\\d{2,5}(?:[ -]\\d{2,5}){1,5}(?![\\w]|[.,/-]\\d)",
     write_phone, NULL},
    {"\\b0x[0-9A-Fa-f]{1,16}\\b", write_code, NULL},
    {"(?i)(?<![\\w.])(v\\.?\\s?)?(\\d{1,4}(?:\\.\\d{1,4}){2,5})(?![\\w.]\\d|\\w)", write_version, NULL},
    // times
    {NUMBER_BEFORE "([01]?\\d|2[0-3]):([0-5]\\d)(?::([0-5]\\d))?(?:\\s?([AaPp]\\.?[Mm]\\b\\.?))?(?![\\w:])",
     english_time, NULL},
    {NUMBER_BEFORE "(1[0-2]|[1-9])\\.([0-5]\\d)(x^)?\\s?([AaPp]\\.[Mm]\\.|[AaPp][Mm]\\b)", english_time, NULL},
    {NUMBER_BEFORE "(1[0-2]|[1-9])\\s?([AaPp]\\.[Mm]\\.|[AaPp][Mm]\\b)", english_hour, NULL},
    // money
    {"(US\\$|NZ\\$|HK\\$|A\\$|C\\$|[$£€¥₹₩₽₿])\\s?" WHOLE FRACTION
     "(?:[\\s-]?(thousand|million|billion|trillion)\\b|(k|K|m|M|bn|B)\\b)?",
     english_money_before, NULL},
    {NUMBER_BEFORE WHOLE FRACTION
     "\\s?(thousand|million|billion|trillion)?\\s?([$£€¥₹]|(?:USD|EUR|GBP|JPY|INR|CHF)\\b)",
     english_money_after, NULL},
    {NUMBER_BEFORE "(\\d{1,3})\\s?¢", english_cents, NULL},
    // minus signs, and ranges
    {"(?<=\\d) [-−] (?=\\d)", NULL, " minus "},
    {"(?<=\\d)\\s?\\*\\s?(?=\\d)", NULL, " times "},
    {"\\bC#", NULL, "C sharp"},
    {"(?<![\\w)\\]])[-−](?=\\d)", NULL, "minus "},
    {"(?<=\\d)\\s?–\\s?(?=[$£€]?\\d)", NULL, " to "},
    {"(?<=\\d)[-—](?=\\d)", NULL, " to "},
    // quantities
    {NUMBER_BEFORE "(\\d{1,2})['′]\\s?(\\d{1,2})[\"″]", english_feet_inches, NULL},
    {NUMBER_BEFORE WHOLE FRACTION "\\s?%", english_percent, NULL},
    {NUMBER_BEFORE WHOLE FRACTION
     "[\\s-]?(km/h|kph|mph|m/s|km²|km2|m²|m2|cm²|cm2|m³|m3|sq ft|km|cm|mm|µm|μm|nm|mi|ft|yds?|kg|mg|µg|μg|lbs?|oz|"
     "m[lL]|cl|gal|ha|°\\s?[CF]|°|[kMG]?Hz|[kMG]?W|kWh|m?V|mAh?|[kKMGTP]B|[KMG]iB|[kMG]bps|ms|µs|μs|sec|min|hrs?|k?cal|"
     "[kh]?Pa|psi|dB|fps|rpm|px|"
     "[mglLsh])(?![\\w/²³'])",
     english_unit, NULL},
    {"(?<![\\w/])(?:(\\d{1,4})\\s)?(\\d{1,3})/(\\d{1,4})(?![\\w/])", english_fraction, NULL},
    {"(?:(\\d{1,6})\\s?)?([½⅓⅔¼¾⅕⅖⅗⅘⅙⅛⅜⅝⅞])", english_vulgar_fraction, NULL},
    {NUMBER_BEFORE WHOLE "(?:st|nd|rd|th)" TIGHT, english_ordinal, NULL},
    {NUMBER_BEFORE WHOLE FRACTION "\\s?(k|K|bn|M|B)" TIGHT, english_scaled, NULL},
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
    {"(?<![\\w.,$£€-])(1[1-9]\\d{2}|20\\d{2})(?![\\w,]\\d|\\.\\d|\\w)", english_plain_year, NULL},
    {"(?<![\\d.])\\.(?=\\d)", NULL, "0."},
    {"(?<=[A-Za-z])(?=\\d)", NULL, " "},
    {"(?<=\\d)(?=[A-Za-z])", NULL, " "},
    {"(?<![\\d,])(\\d{1,9}),(\\d{1,2})(?![\\d,])", english_number, NULL},  // a decimal comma
    {WHOLE FRACTION, english_number, NULL},
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
