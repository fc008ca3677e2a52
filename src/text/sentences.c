#include "text/sentences.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <pthread.h>
#include <string.h>

#include "text/utf8.h"

// What a language writes with a dot that ends no sentence, and how its sentences like to begin. Words are lower-case,
// without their last dot, between spaces.
struct language {
    const char *code;           // first letters of the language's name
    const char *before_name;    // a name or a word always follows: Mr. Smith
    const char *before_number;  // no end when a number follows: No. 5, Jan. 3
    const char *anywhere;       // an end unless the next word is in lower case: etc.
    const char *starters;       // words that begin sentences rather than names
    bool ordinals;              // "3." is the third
};

static const struct language languages[] = {
    {"en",
     " mr mrs ms mx dr prof rev hon gen col capt cpt cmdr lt sgt maj adm gov sen rep pres supt st mt ft fr messrs mme "
     "mlle "
     "e.g i.e vs v cf viz approx al ca esp incl ",
     " no nos p pp vol vols fig figs ch chap sec sect art eq ed ver jan feb mar apr jun jul aug sep sept oct nov dec ",
     " etc inc ltd co corp jr sr bros dept est min max hr hrs ave blvd rd ln hwy tel ext a.m p.m mon tue tues wed "
     "thu thur thurs fri sat sun lb lbs oz ft yd mi misc ",
     " the this that these those there then they we you he she it but and or so if when while however after before as "
     "for "
     "to in on at by with from my his her our their your what why how where yes now once since although because an "
     "it's "
     "i'm i've he's she's they're we're you're that's there's let's don't ",
     false},
    {"de",
     " hr hrn fr frl dr prof dipl ing st z.b d.h u.a v.a i.d.r z.t u.u ca bzw vgl evtl ggf inkl exkl sog geb gest allg "
     "bes einschl zzgl abzgl max min mio mrd tsd v.chr n.chr v n ",
     " nr nrn s bd abs art abb kap tab anm jan feb mär apr jun jul aug sep sept okt nov dez ",
     " usw etc u.s.w o.ä u.ä co str tel jh jhs chr jr sen gmbh ",
     " der die das den dem ein eine einen er sie es wir ihr ich du und aber doch dann wenn als im in am an auf mit "
     "nach von "
     "vom zu zum zur für wie was wer wo warum da dies diese dieser dieses man nicht nun so auch sein seine ihre sein ",
     true},
    {"fr", " m mm mr mme mmes mlle mlles dr me pr st ste mgr c.-à-d p.ex ex cf env av ",
     " n no p pp vol fig art chap t janv févr avr juil sept oct nov déc ", " etc éd tél apr j.-c s.a min max cie jr ",
     " le la les l un une il elle ils elles on nous vous je j tu ce c cela ces cette et mais ou donc puis si quand "
     "comme dans "
     "en au aux pour par sur avec sans après avant son sa ses mon ma mes leur que qui où ",
     false},
    {"es", " sr sra srta sres dr dra d dña don prof ing lic gral cap st sta sto ud uds p.ej ej vs aprox avda ",
     " n núm nº n.º pág págs p pp vol fig art cap ", " etc ee.uu s.a a.c d.c a.m p.m tel cía máx mín ",
     " el la los las un una él ella ellos nosotros yo tú y pero o si cuando como en a al para por con sin después "
     "antes su "
     "sus mi este esta esto ese eso qué quién dónde no sí entonces ",
     false},
    // what most languages share; in several of them "3." is the third, too
    {"", " mr mrs dr prof st e.g i.e cf vs ", " no nr p pp vol fig art ", " etc a.m p.m inc ltd co ", " ", false},
};

static const struct language *language_of(const char *code) {
    const struct language *l = languages;
    while (strncmp(l->code, code, strlen(l->code)) != 0) l++;
    return l;
}

enum { MAX_WORD = 24 };  // code points; longer words are no abbreviations

// A word in lower case between spaces, as the lists above hold it.
struct word {
    char key[4 * MAX_WORD + 3];
    size_t n_letters;  // code points without dots
    bool dots;         // dots inside: e.g
    bool digits;       // only digits and dots
    bool upper;        // begins with a capital
    bool vowel;
    size_t begin;  // where it stands
};

static bool listed(const char *list, const struct word *w) { return w->n_letters && strstr(list, w->key); }

static bool in_word(int32_t c) {
    return utf8_is_letter(c) || utf8_is_digit(c) || c == '.' || c == '-' || c == 0xb0 || c == 0xba || c == '\'' ||
           c == 0x2019;
}

static void describe(const char *text, size_t begin, size_t end, struct word *w) {
    *w = (struct word){.begin = begin, .digits = true};
    utf8proc_uint8_t *key = (utf8proc_uint8_t *)w->key;
    *key++ = ' ';
    for (size_t at = begin, n; at < end; at += n) {
        int32_t c;
        n = utf8_next(text + at, end - at, &c);
        if (!w->n_letters) w->upper = utf8_is_upper(c);
        if (c == '.')
            w->dots = true;
        else
            w->n_letters++;
        if (!utf8_is_digit(c) && c != '.') w->digits = false;
        c = c == 0x2019 ? '\'' : utf8proc_tolower(c);
        if (c >= 0x80 || strchr("aeiouy", c)) w->vowel = true;
        key += utf8proc_encode_char(c, key);
    }
    *key++ = ' ';
    *key = 0;
}

// The word that ends at text[end], not before `begin`; longer words count as empty.
static void word_before(const char *text, size_t begin, size_t end, struct word *w) {
    size_t at = end;
    int n_points = 0;
    while (at > begin && n_points <= MAX_WORD) {
        int32_t c;
        size_t n = utf8_previous(text + begin, at - begin, &c);
        if (!in_word(c)) break;
        at -= n;
        n_points++;
    }
    describe(text, n_points > MAX_WORD ? end : at, end, w);
}

// The word at text[at] behind opening quotes, brackets and dashes; *first is its first character.
static void word_after(const char *text, size_t len, size_t at, struct word *w, int32_t *first) {
    int32_t c = 0;
    size_t n = 0;
    for (int i = 0; i < 8 && at < len; i++, at += n) {
        n = utf8_next(text + at, len - at, &c);
        utf8proc_category_t category = c < 0 ? UTF8PROC_CATEGORY_CN : utf8proc_category(c);
        bool opens = category == UTF8PROC_CATEGORY_PS || category == UTF8PROC_CATEGORY_PI ||
                     category == UTF8PROC_CATEGORY_PF || category == UTF8PROC_CATEGORY_PD || c == '"' || c == '\'' ||
                     c == 0xbf || c == 0xa1 || c == '*' || c == '_';
        if (!opens) break;
    }
    *first = at < len ? c : 0;
    size_t end = at;
    int n_points = 0;
    while (end < len && n_points <= MAX_WORD) {
        n = utf8_next(text + end, len - end, &c);
        if (!in_word(c) || c == '.') break;
        end += n;
        n_points++;
    }
    describe(text, at, n_points > MAX_WORD ? at : end, w);
}

// Whether the dot at text[dot] with `next` behind the white space ends the sentence that began at `begin`.
static bool dot_ends(const struct language *l, const char *text, size_t len, size_t begin, size_t dot, size_t next) {
    struct word w, follower;
    int32_t first;
    word_before(text, begin, dot, &w);
    word_after(text, len, next, &follower, &first);
    bool lower = utf8_is_lower(first), number = utf8_is_digit(first);
    bool starts = listed(l->starters, &follower) && !lower;
    if (!w.n_letters) return !lower;
    if (w.begin == begin && (w.n_letters == 1 || (w.digits && w.n_letters <= 3)))
        return false;  // "1. First", "A. Smith"
    if (listed(l->before_name, &w)) return false;
    if (listed(l->before_number, &w)) return !number && !lower;
    if (listed(l->anywhere, &w)) return !lower;
    if (w.digits) return !lower && (starts || !l->ordinals || w.n_letters > 2);
    if (w.dots) return starts;  // U.S. Army, Ph.D. thesis
    if (w.n_letters == 1 && w.upper) {
        struct word before;
        size_t behind = w.begin;
        while (behind > begin && text[behind - 1] == ' ') behind--;
        word_before(text, begin, behind, &before);
        bool initial = before.n_letters == 1 && behind > begin && text[behind - 1] == '.';
        if (strcmp(w.key, " i ") == 0 && !initial) return !lower;  // so do I.
        return starts;
    }
    return !(lower && (w.upper || !w.vowel) && w.n_letters <= 4);
}

static pcre2_code *terminal_code;

static void compile_terminal(void) {
    int error;
    PCRE2_SIZE offset;
    terminal_code = pcre2_compile((PCRE2_SPTR) "\\p{Sentence_Terminal}", PCRE2_ZERO_TERMINATED,
                                  PCRE2_UTF | PCRE2_ANCHORED, &error, &offset, NULL);
}

// Marks that end a sentence when white space follows.
static bool is_spaced_terminal(int32_t c) { return c == '.' || c == '!' || c == '?' || c == 0x2026; }

// Marks that end a sentence with no white space behind them: CJK, Arabic, Indic ...
static bool is_full_terminal(const char *text, size_t n, int32_t c, pcre2_match_data *match) {
    if (c < 0x370 || c == 0x2026 || utf8proc_category(c) != UTF8PROC_CATEGORY_PO) return false;
    return terminal_code && match &&
           pcre2_match(terminal_code, (PCRE2_SPTR)text, n, 0, PCRE2_NO_UTF_CHECK, match, NULL) > 0;
}

static bool is_closer(int32_t c) {
    if (c < 0x80) return c > 0 && strchr("\"')]}*_", c);
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_PE || category == UTF8PROC_CATEGORY_PF || category == UTF8PROC_CATEGORY_PI;
}

// Steps over white space; returns how many lines end in it.
static int skip_space(const char *text, size_t len, size_t *at) {
    int n_lines = 0;
    while (*at < len) {
        int32_t c;
        size_t n = utf8_next(text + *at, len - *at, &c);
        if (!utf8_is_space(c)) break;
        bool pair = c == '\r' && *at + 1 < len && text[*at + 1] == '\n';  // counted with its '\n'
        if (c == 0x2029)
            n_lines += 2;
        else if (c == '\n' || c == '\f' || c == 0x85 || c == 0x2028 || (c == '\r' && !pair))
            n_lines++;
        *at += n;
    }
    return n_lines;
}

// French writes its closing quote behind a space: the bytes of both at text[at], 0 when they are not there.
static size_t spaced_closer(const char *text, size_t len, size_t at) {
    int32_t space, quote, behind = ' ';
    size_t n = at < len ? utf8_next(text + at, len - at, &space) : 0;
    if (!n || !utf8_is_space(space) || at + n == len) return 0;
    n += utf8_next(text + at + n, len - at - n, &quote);
    if (at + n < len) (void)utf8_next(text + at + n, len - at - n, &behind);
    return quote == 0xbb && !utf8_is_letter(behind) && !utf8_is_digit(behind) ? n : 0;
}

// The mark at text[*at] with all that belongs to it is stepped over; true when the sentence ends there.
static bool mark_ends(const struct language *l, const char *text, size_t len, size_t begin, size_t *at, int32_t mark,
                      pcre2_match_data *match) {
    size_t first_mark = *at;
    int n_marks = 0;
    bool full = false, loud = false, closed = false;
    int32_t c = mark;
    while (*at < len) {  // the run of marks, then what closes quotes and brackets
        size_t n = utf8_next(text + *at, len - *at, &c);
        bool terminal = is_full_terminal(text + *at, n, c, match);
        if (!closed && (terminal || is_spaced_terminal(c))) {
            n_marks += c == 0x2026 ? 3 : 1;
            full |= terminal;
            loud |= c == '!' || c == '?';
        } else if (is_closer(c)) {
            closed = true;
        } else {
            break;
        }
        *at += n;
    }
    size_t quote = spaced_closer(text, len, *at);
    if (quote) {
        closed = true;
        *at += quote;
        if (*at < len) (void)utf8_next(text + *at, len - *at, &c);
    }
    if (*at == len) return true;
    if (full) {
        // a full-width point inside a number
        return !(mark == 0xff0e && n_marks == 1 && utf8proc_category(c) == UTF8PROC_CATEGORY_ND);
    }
    if (!utf8_is_space(c)) return c >= 0x2e80 && utf8_is_letter(c);  // scripts that write no space between sentences
    size_t next = *at;
    skip_space(text, len, &next);
    if (next == len) return true;
    struct word follower;
    int32_t first;
    word_after(text, len, next, &follower, &first);
    if (is_spaced_terminal(first)) return false;  // ". . ."
    if (closed && utf8_is_lower(first)) return false;
    if (loud) return true;
    if (n_marks > 1) return !utf8_is_lower(first);
    return dot_ends(l, text, len, begin, first_mark, next);
}

bool sentence_next(const char *text, size_t len, const char *language, size_t *pos, struct sentence *out) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, compile_terminal);
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    const struct language *l = language_of(language ? language : "");
    size_t at = *pos;
    skip_space(text, len, &at);
    size_t begin = at, end = at;
    bool content = false;  // something to speak was seen; marks alone are no sentence
    while (at < len) {
        int32_t c;
        size_t n = utf8_next(text + at, len - at, &c);
        if (utf8_is_space(c)) {
            if (skip_space(text, len, &at) >= 2) break;
        } else if (content && (is_spaced_terminal(c) || is_full_terminal(text + at, n, c, match))) {
            bool ends = mark_ends(l, text, len, begin, &at, c, match);
            end = at;
            if (ends) break;
        } else {
            content |= utf8_is_letter(c) || (c >= 0 && utf8proc_category(c) >= UTF8PROC_CATEGORY_ND &&
                                             utf8proc_category(c) <= UTF8PROC_CATEGORY_NO);
            at += n;
            end = at;
        }
    }
    if (match) pcre2_match_data_free(match);
    if (begin == len) {
        *pos = len;
        return false;
    }
    *pos = end;
    at = end;
    *out = (struct sentence){begin, end, skip_space(text, len, &at) >= 2 || at == len};
    return true;
}

static bool is_clause_mark(int32_t c, int32_t next) {
    if (c == 0x3001 || c == 0xff0c || c == 0xff1b || c == 0xff1a || c == 0x3002 || c == 0xff01 || c == 0xff1f)
        return true;
    if (!utf8_is_space(next)) return c == 0x2014;
    return c == ',' || c == ';' || c == ':' || c == '!' || c == '?' || c == 0x2014 || c == 0x2026 || c == 0x60c ||
           c == 0x61b || c == 0x61f || c == 0x964;
}

size_t sentence_cut(const char *text, size_t len, size_t max_bytes) {
    if (len <= max_bytes) return len;
    size_t whole = 0, space = 0, clause = 0;
    int32_t before = 0;
    for (size_t at = 0; at < len;) {
        int32_t c;
        size_t n = utf8_next(text + at, len - at, &c);
        if (at > 0 && is_clause_mark(before, c)) clause = at;
        if (at + n > max_bytes) break;
        at += n;
        whole = at;
        if (utf8_is_space(c)) space = at;
        before = c;
    }
    return clause ? clause : space ? space : whole ? whole : max_bytes;
}
