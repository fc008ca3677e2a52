/* normalize.h: English as it is said, markup and emoji removed, and plain sentences left alone. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "text/normalize.h"

static void check(const char *language, const char *written, const char *said) {
    struct str document = {0}, out = {0};
    assert_ok(normalize_document(written, strlen(written), &document));
    assert_ok(normalize_sentence(language, str_text(&document), document.len, &out));
    if (strcmp(str_text(&out), said) != 0)
        fail_msg("\"%s\" became \"%s\", wanted \"%s\"", written, str_text(&out), said);
    str_free(&document);
    str_free(&out);
}

static const char *const said_otherwise[][2] = {
    {"I paid $5.99 for it, and £1 more; $1.01 and $0.50.",
     "I paid five dollars and ninety-nine cents for it, and one pound more; one dollar and one cent and fifty cents."},
    {"It cost $3.5 million, or US$2bn, or €10.",
     "It cost three point five million dollars, or two billion US dollars, or ten euros."},
    {"On 2024-03-15 we met. 3/4/2024 and 25/12/2023.",
     "On March fifteenth, twenty twenty-four we met. March fourth, twenty twenty-four and December twenty-fifth, "
     "twenty twenty-three."},
    {"March 15, 2024 and 15 March 2024, the 3rd of May and May 5th.",
     "March fifteenth, twenty twenty-four and the fifteenth of March, twenty twenty-four, the third of May and May "
     "fifth."},
    {"In 1984, 2005, 2010 and 1900 and 1905.",
     "In nineteen eighty-four, two thousand five, twenty ten and nineteen hundred and nineteen oh five."},
    {"In the 1990s and the '80s and 2000s.", "In the nineteen nineties and the eighties and two thousands."},
    {"At 10:30, 10:30 pm, 17:45, 9 a.m., 10:05, 10:00.",
     "At ten thirty, ten thirty p-m, seventeen forty-five, nine a-m, ten oh five, ten o'clock."},
    {"We leave at 9 p.m.", "We leave at nine p-m."},
    {"It is 20°C and 5 km away, 60 mph, 3 kg, 1 kg, 16 GB, 2.4 GHz, 100 m².",
     "It is twenty degrees Celsius and five kilometers away, sixty miles per hour, three kilograms, one kilogram, "
     "sixteen gigabytes, two point four gigahertz, one hundred square meters."},
    {"He is 5'10\" tall.", "He is five feet ten inches tall."},
    {"Call 555-1234 or (555) 123-4567 or +1 555 123 4567 now.",
     "Call five five five, one two three four or five five five, one two three, four five six seven or plus one, five "
     "five five, one two three, four five six seven now."},
    {"See https://example.com/a/b?x=1 or www.test.org, ok.",
     "See example dot com slash a slash b or w w w dot test dot org, ok."},
    {"Mail me at john.doe2@example.com.", "Mail me at john dot doe two at example dot com."},
    {"Henry VIII and Louis XIV met in Chapter IV of World War II.",
     "Henry the eighth and Louis the fourteenth met in Chapter four of World War two."},
    {"Rocky IV. Elizabeth I, and then I left.", "Rocky four. Elizabeth the first, and then I left."},
    {"1/2 of it, 3/4 cup, 2 1/2 cups, ½ and 2½.",
     "one half of it, three quarters cup, two and a half cups, one half and two and a half."},
    {"NASA and the FBI and PDFs, MP3, 3D, COVID-19 and H2O.",
     "Nasa and the FBI and PDFs, MP three, three D, Covid-nineteen and H two O."},
    {"Dr. Smith, Mr. Jones and Mrs. Brown vs. St. Paul at Main St. etc.",
     "Doctor Smith, Mister Jones and Missus Brown versus Saint Paul at Main Street et cetera."},
    {"e.g. this, i.e. that, No. 5, #1.", "for example this, that is that, number five, number one."},
    {"1,234,567.89 and 0.5 and .5 and -3 and 100%.",
     "one million two hundred thirty-four thousand five hundred sixty-seven point eight nine and zero point five and "
     "zero point five and minus three and one hundred percent."},
    {"10–20 people, 1914–1918, 3-2.", "ten to twenty people, nineteen fourteen to nineteen eighteen, three to two."},
    {"2.0.1 and v1.2.3 at 192.168.0.1",
     "two point zero point one and version one point two point three at one hundred ninety-two dot one hundred "
     "sixty-eight dot zero dot one"},
    {"Tom & Jerry + 3 = x, 5 × 6, w/ milk w/o sugar.",
     "Tom and Jerry plus three equals x, five times six, with milk without sugar."},
    {"J. R. R. Tolkien and John F. Kennedy in the U.S.A. and the U.S.",
     "J R R Tolkien and John F Kennedy in the USA and the US."},
    {"STOP THIS MADNESS RIGHT NOW PLEASE", "STOP THIS Madness RIGHT NOW Please"},
    {"**Bold** and _it_ and `code` [link](http://x.y) 😀 ok 👍🏽.", "Bold and it and code link ok."},
    {"# Heading", "Heading"},
    {"The 1st, 2nd, 3rd, 21st and 112th.", "The first, second, third, twenty-first and one hundred twelfth."},
    {"ISBN 978-3-16-148410-0 and 007 and 0x1F.",
     "ISBN nine seven eight three one six one four eight four one zero zero and zero zero seven and zero x one F."},
    {"The well-known 19-year-old.", "The well-known nineteen-year-old."},
    {"It's 50¢. 24/7. 9/11.", "It's fifty cents. twenty-four seven. nine eleven."},
    {"$100k and 5M users, 3.5k.", "one hundred thousand dollars and five million users, three point five thousand."},
    {"and/or he/she @bob #tag", "and or he slash she at bob hashtag tag"},
    {"Pope John Paul II. Apollo 11. F-16.", "Pope John Paul the second. Apollo eleven. F-sixteen."},
    {"The 20th century; 12 Jan. 2020; Sept. 5",
     "The twentieth century; the twelfth of January, twenty twenty; September fifth"},
    {"12345678901234567890",
     "twelve quintillion three hundred forty-five quadrillion six hundred seventy-eight trillion nine hundred one "
     "billion two hundred thirty-four million five hundred sixty-seven thousand eight hundred ninety"},
    {"My name is Andy. I'm 25 and I just moved to London.",
     "My name is Andy. I'm twenty-five and I just moved to London."},
    {"space before comma , and period .", "space before comma, and period."},
    {"   leading and trailing spaces   ", "leading and trailing spaces"},
    {"- ", ""},
    {"Mr. Smith went to Washington, D.C. on Jan. 5th.", "Mister Smith went to Washington, DC on January fifth."},
    {"Dr. Jones and Mrs. Brown vs. Prof. X, etc.", "Doctor Jones and Missus Brown versus Professor X, et cetera."},
    {"The U.S.A. and the U.K. are allies.", "The USA and the UK are allies."},
    {"NASA, FBI, IBM, HTML, and JSON are acronyms.", "Nasa, FBI, IBM, HTML, and JSON are acronyms."},
    {"I have 3 apples and 12 oranges.", "I have three apples and twelve oranges."},
    {"100", "one hundred"},
    {"1,234,567", "one million two hundred thirty-four thousand five hundred sixty-seven"},
    {"3.14159", "three point one four one five nine"},
    {"It is 1.5 metres long.", "It is one point five metres long."},
    {"It costs 19,99 euro.", "It costs nineteen point nine nine euro."},
    {"Version 2.0.1 is out.", "Version two point zero point one is out."},
    {"The price is $5.99, not £3.50 or €10.",
     "The price is five dollars and ninety-nine cents, not three pounds and fifty pence or ten euros."},
    {"$1,000,000.00 jackpot", "one million dollars jackpot"},
    {"50% off! 100% pure.", "fifty percent off! one hundred percent pure."},
    {"-5 degrees and +7 degrees", "minus five degrees and plus seven degrees"},
    {"Call 555-1234 or +44 20 7946 0958.",
     "Call five five five, one two three four or plus four four, two zero, seven nine four six, zero nine five eight."},
    {"It's 10:30 a.m. on 2024-11-05.", "It's ten thirty a-m on November fifth, twenty twenty-four."},
    {"On 5/11/2024 at 18:45, we met.", "On May eleventh, twenty twenty-four at eighteen forty-five, we met."},
    {"In 1999, 2005 and the 1980s", "In nineteen ninety-nine, two thousand five and the nineteen eighties"},
    {"The 1st, 2nd, 3rd and 21st of May", "The first, second, third and the twenty-first of May"},
    {"1/2 cup, 3/4 spoon", "one half cup, three quarters spoon"},
    {"5 x 6 = 30", "five x six equals thirty"},
    {"2 + 2 = 4, 7 - 3 = 4, 8 * 2 < 20 > 1",
     "two plus two equals four, seven minus three equals four, eight times two less than twenty greater than one"},
    {"E-mail me at john.doe@example.com please.", "E-mail me at john dot doe at example dot com please."},
    {"Visit https://www.example.com/path?q=1&r=2#top now.", "Visit w w w dot example dot com slash path now."},
    {"www.example.org", "w w w dot example dot org"},
    {"#hashtag and @mention", "hashtag hashtag and at mention"},
    {"AT&T and R&B", "AT and T and R and B"},
    {"C++ and C# are languages", "C plus plus and C sharp are languages"},
    {"snake_case_name and camelCaseName", "snake case name and camelCaseName"},
    {"emoji 😀 in the middle", "emoji in the middle"},
    {"😀", ""},
    {"👍🏽 thumbs up!", "thumbs up!"},
    {"✓ check ★ star → arrow", "check star → arrow"},
    {"© 2024 Company™ ®", "copyright twenty twenty-four Company"},
    {"OK okay O.K.", "OK okay OK."},
    {"No.1 No. 1 number one", "number one number one number one"},
    {"e.g. this, i.e. that", "for example this, that is that"},
    {"8am 9pm 10AM", "eight a-m nine p-m ten a-m"},
    {"5kg 10km 3cm 20°C", "five kilograms ten kilometers three centimeters twenty degrees Celsius"},
    {"H2O and CO2", "H two O and CO two"},
    {"2nd-hand 3-year-old", "second-hand three-year-old"},
    {"under_score", "under score"},
    {"<b>bold</b> text", "bold text"},
    {"&amp; &lt;", "and less than"},
    {"1. First item", "one. First item"},
    {"III XIV MCMXCIX", "III XIV Mcmxcix"},
    {"King Henry VIII", "King Henry the eighth"},
    {"00:00:01", "zero zero and one second"},
    {"007", "zero zero seven"},
    {"zero-width\xe2\x80\x8b"
     "space",
     "zero-widthspace"},
    {"soft\xc2\xad"
     "hyphen",
     "softhyphen"},
    {"ALL CAPS SHOUTING HERE", "ALL CAPS Shouting HERE"},
    {"Mr.", "Mister."},
    {"U.S.", "US."},
    {"$", ""},
    {"5", "five"},
    {"Line one line two  line four", "Line one line two line four"},
    {" fourth", "fourth"},
    {" leading newline", "leading newline"},
    {"trailing newline ", "trailing newline"},
    {"a . b", "a. b"},
    {"What's 3.5 times 2.25? It's 7.875, obviously.",
     "What's three point five times two point two five? It's seven point eight seven five, obviously."},
    {"Pi is 3.14, e is 2.72. Done.", "Pi is three point one four, e is two point seven two. Done."},
    {"At 3.30 p.m. the 2.4 GHz radio died. It cost 1,299.99 dollars.",
     "At three thirty p-m the two point four gigahertz radio died. It cost one thousand two hundred ninety-nine point "
     "nine nine dollars."},
    {"It weighs 1.5 kg.", "It weighs one point five kilograms."},
    {"One mile is 1.6 km.", "One mile is one point six kilometers."},
    {"He ran 100 m in 9.58 s.", "He ran one hundred meters in nine point five eight seconds."},
    {"The 5 a.m. train and the 11 p.m. train.", "The five a-m train and the eleven p-m train."},
    {"He came in 3rd on 1/1/2000.", "He came in third on January first, two thousand."},
    {"Room 101 is on floor 2.", "Room one hundred one is on floor two."},
    {"We need 1000 of them.", "We need one thousand of them."},
    {"The year 2024 was good.", "The year twenty twenty-four was good."},
    {"World War I ended in 1918.", "World War one ended in nineteen eighteen."},
    {"Louis XVI of France", "Louis the sixteenth of France"},
    {"Part II, Act III, Scene V.", "Part two, Act three, Scene five."},
    {"She was born on 12/31/99.", "She was born on December thirty-first, nineteen ninety-nine."},
    {"I'd say 99.9% of them.", "I'd say ninety-nine point nine percent of them."},
    {"$1", "one dollar"},
    {"$0.01", "one cent"},
    {"£2.50 each", "two pounds and fifty pence each"},
    {"It costs 5 € or 10 EUR.", "It costs five euros or ten euros."},
    {"Temperatures of -10°C and 98.6°F.",
     "Temperatures of minus ten degrees Celsius and ninety-eight point six degrees Fahrenheit."},
    {"Version 10.15.7", "Version ten point fifteen point seven"},
    {"5,000 people", "five thousand people"},
    {"10,000,000", "ten million"},
    {"0.001", "zero point zero zero one"},
    {"3½ hours", "three and a half hours"},
    {"ACME Corp. and Widgets Inc.", "ACME Corporation and Widgets Incorporated."},
    {"Prof. Plum lives on Baker St.", "Professor Plum lives on Baker Street."},
    {"St. John and St. Mary's", "Saint John and Saint Mary's"},
    {"Meet at 12:00 or 00:30.", "Meet at twelve o'clock or zero thirty."},
    {"Flight BA249 at gate B12.", "Flight BA two hundred forty-nine at gate B twelve."},
    {"Sgt. Pepper vs. Capt. Hook", "Sergeant Pepper versus Captain Hook"},
    {"50/50", "fifty fifty"},
    {"2/3 of all", "two thirds of all"},
    {"R2-D2 and C-3PO", "R two-D two and C-three PO"},
    {"A&E and Q&A", "A and E and Q and A"},
    {"#MeToo", "hashtag MeToo"},
    {"1st class", "first class"},
    {"7:05am", "seven oh five a-m"},
    {"©2023", "copyright twenty twenty-three"},
    {"10 km/h", "ten kilometers per hour"},
    {"4K", "four thousand"},
    {"5G", "five G"},
    {"COVID-19", "Covid-nineteen"},
    {"100,000.5", "one hundred thousand point five"},
    {"3 x 4", "three x four"},
};

// What has nothing to write out comes out byte for byte.
static const char *const said_as_written[] = {
    "The old man walked slowly down the quiet street.",
    "She said \"hello\" – and left… (really?)",
    "Hello world",
    "Hello, world!",
    "The quick brown fox jumps over the lazy dog.",
    "The underground is pretty confusing, but it gets me around in no time at all.",
    "So I'm live on radio. And I say, well, my dear friend James here clearly, and the whole room just froze.",
    "She sells sea shells by the sea shore",
    "What time is it?",
    "What?!",
    "Really?\? No way!!!",
    "Wait... what?",
    "Wait… what?",
    "Well — I suppose so.",
    "Well—I suppose so.",
    "Well – en dash, maybe.",
    "Well - spaced hyphen.",
    "double -- hyphen and --- triple",
    "\"Quoted text,\" he said.",
    "“Curly quotes,” she said.",
    "‘Single curly’ and 'single straight'",
    "«Guillemets» are here",
    "He said: \"stop!\" and left.",
    "(Parenthesised at start) then text.",
    "Text (in the middle) here.",
    "Text at the end (here)",
    "[Brackets] and {braces} too.",
    "semi; colon: comma, period.",
    "no space,after,commas",
    ",leading comma",
    "...leading ellipsis",
    "!?",
    ".",
    ",",
    "\"",
    "()",
    "¿Spanish marks? ¡Indeed!",
    "a, b, c; d: e. f! g?",
    "well-known state-of-the-art mother-in-law",
    "re-enter co-operate",
    "don't can't won't it's I'd they've we're y'all",
    "rock 'n' roll",
    "the dogs' bones and James's hat",
    "O'Neill o'clock",
    "café naïve résumé façade",
    "Müller and Señor Núñez",
    "Zürich, Kraków, São Paulo",
    "The word Schadenfreude is German.",
    "The Москва river",
    "東京 is Tokyo",
    "你好 world",
    "नमस्ते friend",
    "مرحبا friend",
    "Ελλάδα is Greece",
    "line one",
    "a b c d e f g",
    "A",
    "I",
    "x",
    "the the the",
    "bass read lead wind tear bow live",
    "I read the book yesterday; I will read it tomorrow.",
    "record a record, object to the object",
    "psychology knight gnome pneumonia",
    "Worcestershire Leicester Edinburgh",
    "antidisestablishmentarianism supercalifragilisticexpialidocious",
    "aaaaaaaaaa",
    "xyzzy qwrtp bcdfg",
    "Hmm, uh, um, ah, oh... shh!",
    "Ha ha ha! Haha! LOL",
    "it's -- you know -- fine",
    "\"Why?\" \"Because!\" \"Oh...\"",
    "He said \"yes\", then \"no\".",
    "(hello) [world] {test}",
    "((nested (parens)))",
    "end with quote\"",
    "\"start with quote",
    "comma,\"quote",
    "hello!world?yes.no",
    "a.b.c",
    "etc...",
    "one,two;three:four",
    "… … …",
    "!!! ?\?\? ...",
    "a) option",
    "non breaking space",
    "combining é character",
    "MiXeD cAsE",
    "the (en) flag lookalike",
    "(a) (b)",
    "text with (parenthesis, comma) and more",
    "Line one. Line two. Line three.",
    "First line, second line; third",
    "This is a very long sentence that keeps going on and on, because the author never learned when to stop; This is a "
    "very long sentence that keeps going on and on, because the author never learned when to stop; This is a very long "
    "sentence that keeps going on and on, because the author never learned when to stop; This is a very long sentence "
    "that keeps going on and on, because the author never learned when to stop; This is a very long sentence that "
    "keeps going on and on, because the author never learned when to stop; This is a very long sentence that keeps "
    "going on and on, because the author never learned when to stop; This is a very long sentence that keeps going on "
    "and on, because the author never learned when to stop; This is a very long sentence that keeps going on and on, "
    "because the author never learned when to stop; This is a very long sentence that keeps going on and on, because "
    "the author never learned when to stop; This is a very long sentence that keeps going on and on, because the "
    "author never learned when to stop; This is a very long sentence that keeps going on and on, because the author "
    "never learned when to stop; This is a very long sentence that keeps going on and on, because the author never "
    "learned when to stop; and then it ends.",
    "word word word word word word word word word word word word word word word word word word word word word word "
    "word word word word word word word word word word word word word word word word word word word word word word "
    "word word word word word word word word word word word word word word word word word word word word word word "
    "word word word word word word word word word word word word word word word word word word word word word word "
    "word word word word word word word word word word word word word word word word word word word word word word "
    "word word word word word word word word word word word word word word word word word word word word word word "
    "word word word word word word word word word word word word word word word word word word word word word word "
    "word word word word word word word word word word word word word word word word word word word word word word "
    "word word word word word word word word word word word word word word word word word word word word word word "
    "word word word word word word word word word word word word word word word word word word word word word word "
    "word word word word word word word word word word word word word word word word word word word word word word "
    "word word word word word word word word word word word word word word word word word word word word word word "
    "word word word word word word word word word word word word word word word word word word word word word word "
    "word word word word word word word word word word word word word word",
    "SupercalifragilisticSupercalifragilisticSupercalifragilisticSupercalifragilisticSupercalifragilisticSupercalifragi"
    "listicSupercalifragilisticSupercalifragilisticSupercalifragilisticSupercalifragilisticSupercalifragilisticSupercal"
    "ifragilistic",
    "I think, therefore I am.",
    "a.k.a. Bob",
};

static void test_english(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof said_otherwise / sizeof *said_otherwise; i++)
        check("en-us", said_otherwise[i][0], said_otherwise[i][1]);
}

static void test_plain_text_is_left_alone(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof said_as_written / sizeof *said_as_written; i++)
        check("en-us", said_as_written[i], said_as_written[i]);
}

static void test_the_british_put_the_day_first(void **state) {
    (void)state;
    check("en-gb", "On 3/4/2024.", "On the third of April, twenty twenty-four.");
    check("en-us", "On 3/4/2024.", "On March fourth, twenty twenty-four.");
    check("en-gb", "On 2024-03-15.", "On the fifteenth of March, twenty twenty-four.");
}

static void test_documents_keep_their_paragraphs(void **state) {
    (void)state;
    struct str out = {0};
    static const char text[] =
        "# One\r\n\r\nTwo **three**\r\n\r\n- four\r\n- five\r\n\r\n| a | b |\r\n|---|---|\r\n| c | d |\r\n";
    assert_ok(normalize_document(text, strlen(text), &out));
    assert_string_equal(str_text(&out), "One\n\nTwo three\n\nfour\nfive\n\na, b\n\nc, d\n");
    str_free(&out);
}

static void test_bytes_that_are_no_text(void **state) {
    (void)state;
    static const char text[] = "Good\xff\xfe morning\x01\x02, \xc3 all\xed\xa0\x80.\x00 end";
    struct str out = {0};
    assert_ok(normalize_document(text, sizeof text - 1, &out));
    for (size_t i = 0; i < out.len; i++) assert_true((unsigned char)out.data[i] < 0x80 && out.data[i] >= ' ');
    assert_non_null(strstr(str_text(&out), "Good"));
    assert_non_null(strstr(str_text(&out), "end"));
    str_free(&out);
}

// A million bytes of what patterns are afraid of: the test's time limit is the assertion.
static void test_long_texts_of_marks(void **state) {
    (void)state;
    static const char *const kinds[] = {"[",       "*",  "1,", "(", "a.", "<",    "_a",
                                        "http://", "A.", "|",  "&", "1 ", "12:3", "![]("};
    enum { N = 1000000 };
    char *text = malloc(N + 16);
    assert_non_null(text);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        size_t n = strlen(kinds[k]), len = 0;
        for (; len < N; len += n) memcpy(text + len, kinds[k], n);
        struct str document = {0}, out = {0};
        assert_ok(normalize_document(text, len, &document));
        assert_ok(normalize_sentence("en-us", str_text(&document), document.len, &out));
        str_free(&document);
        str_free(&out);
    }
    free(text);
}

static void test_what_can_be_spoken(void **state) {
    (void)state;
    static const char *const yes[] = {"a", "7", "...x", "é", "日", "½", "א"};
    static const char *const no[] = {"", " ", "?!...", "—", "\xff\xfe", "“”", "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) assert_true(text_is_speakable(yes[i], strlen(yes[i])));
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) assert_false(text_is_speakable(no[i], strlen(no[i])));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_english),
        cmocka_unit_test(test_plain_text_is_left_alone),
        cmocka_unit_test(test_the_british_put_the_day_first),
        cmocka_unit_test(test_documents_keep_their_paragraphs),
        cmocka_unit_test(test_bytes_that_are_no_text),
        cmocka_unit_test(test_long_texts_of_marks),
        cmocka_unit_test(test_what_can_be_spoken),
    };
    return cmocka_run_group_tests_name("normalize", tests, NULL, NULL);
}
