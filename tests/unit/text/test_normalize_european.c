/* How German, French and Spanish are written out, and what is done for a language without rules of its own. */
#include "test.h"

#include <string.h>

#include "base/str.h"
#include "text/normalize.h"

struct row {
    const char *written, *spoken;
};

static const struct row german[] = {
    {"Das kostet 5,99 €.", "Das kostet 5 Euro 99."},
    {"Es kostet 1 €, nicht 0,99 €.", "Es kostet ein Euro, nicht 99 Cent."},
    {"Preis: 1.234,50 EUR", "Preis: 1234 Euro 50"},
    {"$5.99 und £ 3", "5 Dollar 99 und 3 Pfund"},
    {"5,5 Mio. € Gewinn", "5 Komma 5 Millionen Euro Gewinn"},
    {"1 Mio. Euro", "eine Million Euro"},
    {"3 Mrd. Menschen leben hier.", "3 Milliarden Menschen leben hier."},
    {"5,– €", "5 Euro"},
    {"Er ist 1,5 m groß.", "Er ist 1 Komma 5 Meter groß."},
    {"Pi ist 3.14159.", "Pi ist 3 Punkt 1 4 1 5 9."},
    {"1.234.567 Menschen", "1234567 Menschen"},
    {"1.234,56 kg", "1234 Komma 5 6 Kilogramm"},
    {"Es ist 10:30 Uhr.", "Es ist 10 Uhr 30."},
    {"Um 10:00 Uhr.", "Um 10 Uhr."},
    {"Um 10.30 Uhr.", "Um 10 Uhr 30."},
    {"Es ist 1:05 Uhr", "Es ist ein Uhr 5"},
    {"10:00–12:30 Uhr", "10 Uhr bis 12 Uhr 30"},
    {"Am 15.03.2024 war es.", "Am fünfzehnten März 2024 war es."},
    {"Montag, 15.3.1984.", "Montag, fünfzehnter März neunzehnhundertvierundachtzig."},
    {"2024-03-15", "fünfzehnter März 2024"},
    {"am 15. März", "am fünfzehnten März"},
    {"15. März 2024", "fünfzehnter März 2024"},
    {"vom 3. bis 5. April", "vom dritten bis fünften April"},
    {"die 3. Klasse", "die dritte Klasse"},
    {"in der 3. Klasse", "in der dritten Klasse"},
    {"im 19. Jh.", "im neunzehnten Jahrhundert."},
    {"z. B. Äpfel, d. h. Obst u. a. usw.", "zum Beispiel Äpfel, das heißt Obst unter anderem und so weiter."},
    {"Birnen usw.", "Birnen und so weiter."},
    {"Das gilt bzw. ca. 5 Stück.", "Das gilt beziehungsweise circa 5 Stück."},
    {"Nr. 5, Dr. Müller, Prof. Dr. Meier", "Nummer 5, Doktor Müller, Professor Doktor Meier"},
    {"Hr. und Fr. Meier in St. Pauli", "Herr und Frau Meier in Sankt Pauli"},
    {"Hauptstr. 5", "Hauptstraße 5"},
    {"100 v. Chr. war es", "100 vor Christus war es"},
    {"44 v. Chr.", "44 vor Christus."},
    {"-5 °C und −3 °F", "minus 5 Grad Celsius und minus 3 Grad Fahrenheit"},
    {"5 % und 100%ig", "5 Prozent und 100prozentig"},
    {"100 km/h auf 3 km²", "100 Kilometer pro Stunde auf 3 Quadratkilometer"},
    {"1 kg, 1 h, 2 h, 5 min.", "ein Kilogramm, eine Stunde, 2 Stunden, 5 Minuten."},
    {"10–20 km", "10 bis 20 Kilometer"},
    {"½ Liter, 2½ Stunden, 3/4 davon, 1/2", "ein halb Liter, 2 einhalb Stunden, drei Viertel davon, ein halb"},
    {"Tel. 030 1234567", "Telefon 0 3 0, 1 2 3 4 5 6 7"},
    {"+49 30 123456", "plus 4 9, 3 0, 1 2 3 4 5 6"},
    {"ISBN 978-3-16-148410-0", "ISBN 9 7 8, 3, 1 6, 1 4 8 4 1 0, 0"},
    {"Agent 007", "Agent 0 0 7"},
    {"https://www.example.de/pfad-zu?x=1.",
     "www Punkt example Punkt de Schrägstrich pfad Bindestrich zu Fragezeichen x gleich 1."},
    {"Mail an max.muster@example.com.", "Mail an max Punkt muster at example Punkt com."},
    {"Siehe example.org/", "Siehe example Punkt org"},
    {"A & B + C = D", "A und B plus C gleich D"},
    {"2 + 3 = 5", "2 plus 3 gleich 5"},
    {"3 × 4, 3x4", "3 mal 4, 3 mal 4"},
    {"§ 5 und @max #toll #5 © 2024", "Paragraf 5 und at max Hashtag toll Nummer 5 Copyright 2024"},
    {"Ludwig XIV. war König.", "Ludwig der vierzehnte war König."},
    {"Er hieß Ludwig XIV.", "Er hieß Ludwig der vierzehnte."},
    {"Karls V. Reich", "Karls des fünften Reich"},
    {"Im Jahr 1984 starb er.", "Im Jahr neunzehnhundertvierundachtzig starb er."},
    {"1939–1945 war Krieg.", "neunzehnhundertneununddreißig bis neunzehnhundertfünfundvierzig war Krieg."},
    {"Version 1.2.3", "Version 1 Punkt 2 Punkt 3"},
    {"192.168.0.1", "192 Punkt 168 Punkt 0 Punkt 1"},
    {"1,2,3", "1, 2, 3"},
    {"3:1 gewonnen", "3 zu 1 gewonnen"},
    {"1234567890123", "1 2 3 4 5 6 7 8 9 0 1 2 3"},
    {"Das ist ein ganz normaler Satz, oder?", "Das ist ein ganz normaler Satz, oder?"},
    {"Ich wohne in Nr. 5. Das ist gut.", "Ich wohne in Nummer 5. Das ist gut."},
    {"3.5 GHz", "3 Punkt 5 Gigahertz"},
    {"im 2. Weltkrieg", "im zweiten Weltkrieg"},
    {"1. Öffnen Sie das Fenster.", "1. Öffnen Sie das Fenster."},
    {"1 Mio. Menschen", "eine Million Menschen"},
    {"2 x täglich", "2 mal täglich"},
    {"15.03. bis 20.03.2024", "fünfzehnter März bis zwanzigsten März 2024"},
    {"15.03.–20.03.2024", "fünfzehnter März bis zwanzigsten März 2024"},
    {"Das ist Jan.", "Das ist Jan."},
    {"am 15. Jan. 2024", "am fünfzehnten Januar 2024"},
    {"Wir segeln um das Kap.", "Wir segeln um das Kap."},
    {"@max ist da.", "at max ist da."},
    {"Die 80er Jahre waren laut.", "Die 80er Jahre waren laut."},
    {"1\u00a0234\u00a0567 Menschen, 5\u202f%", "1234567 Menschen, 5 Prozent"},
};

static const struct row french[] = {
    {"Cela coûte 5,99 €.", "Cela coûte 5 euros 99."},
    {"Cela coûte 1 € ou 0,99 €.", "Cela coûte un euro ou 99 centimes."},
    {"5€99", "5 euros 99"},
    {"1 234 567 habitants", "1234567 habitants"},
    {"1 234,50 €", "1234 euros 50"},
    {"$5.99", "5 dollars 99"},
    {"5,5 millions €", "5 virgule 5 millions d'euros"},
    {"3 M€", "3 millions d'euros"},
    {"Pi vaut 3,14.", "Pi vaut 3 virgule 14."},
    {"Il mesure 1,05 m.", "Il mesure 1 virgule 0 5 mètres."},
    {"3.14159", "3 point 1 4 1 5 9"},
    {"Il est 10:30.", "Il est 10 heures 30."},
    {"Il est 10h30, puis 10 h 05.", "Il est 10 heures 30, puis 10 heures 5."},
    {"à 14h", "à 14 heures"},
    {"10h-12h", "10 heures à 12 heures"},
    {"5 h", "5 heures"},
    {"Le 15/03/2024.", "Le 15 mars 2024."},
    {"2024-03-15", "15 mars 2024"},
    {"le 01.03.2024", "le premier mars 2024"},
    {"le 1er mars", "le premier mars"},
    {"la 1re fois, le 2e, la 3ème, le 21e", "la première fois, le deuxième, la troisième, le vingt et unième"},
    {"le XIXe siècle", "le dix-neuvième siècle"},
    {"le XXIe siècle", "le vingt et unième siècle"},
    {"au XVIIIe s. déjà", "au dix-huitième siècle déjà"},
    {"Louis XIV régna.", "Louis quatorze régna."},
    {"François Ier", "François premier"},
    {"Napoléon III", "Napoléon trois"},
    {"M. Dupont et Mme Durand", "Monsieur Dupont et Madame Durand"},
    {"MM. Dupont, Mlle Rose, Dr Blanc", "Messieurs Dupont, Mademoiselle Rose, Docteur Blanc"},
    {"etc.", "et cetera."},
    {"des pommes, etc. et des poires", "des pommes, et cetera et des poires"},
    {"p. ex. ceci, c.-à-d. cela", "par exemple ceci, c'est-à-dire cela"},
    {"n° 5", "numéro 5"},
    {"St-Malo et Ste Marie", "Saint Malo et Sainte Marie"},
    {"52 av. J.-C.", "52 avant Jésus-Christ."},
    {"en 52 av. J.-C. il", "en 52 avant Jésus-Christ il"},
    {"bd Saint-Michel", "boulevard Saint-Michel"},
    {"-5 °C", "moins 5 degrés Celsius"},
    {"5 % de 100%", "5 pour cent de 100 pour cent"},
    {"130 km/h", "130 kilomètres par heure"},
    {"1 km, 1 h, 2 h 30", "un kilomètre, une heure, 2 heures 30"},
    {"10–20 km", "10 à 20 kilomètres"},
    {"½, 2½, 3/4, 2/3, 1/2", "un demi, 2 et demi, trois quarts, deux tiers, un demi"},
    {"01 23 45 67 89", "0 1, 2 3, 4 5, 6 7, 8 9"},
    {"+33 1 23 45 67 89", "plus 3 3, 1, 2 3, 4 5, 6 7, 8 9"},
    {"007", "0 0 7"},
    {"https://www.exemple.fr/a_b", "www point exemple point fr barre oblique a tiret bas b"},
    {"jean.dupont@exemple.fr", "jean point dupont arobase exemple point fr"},
    {"A & B", "A et B"},
    {"2 + 2 = 4", "2 plus 2 égale 4"},
    {"3 × 4", "3 fois 4"},
    {"@jean #cool", "arobase jean hashtag cool"},
    {"© 2024", "copyright 2024"},
    {"C'est une phrase normale, n'est-ce pas ?", "C'est une phrase normale, n'est-ce pas ?"},
    {"978-2-07-036822-8", "9 7 8, 2, 0 7, 0 3 6 8 2 2, 8"},
    {"16:9", "16 à 9"},
    {"1,2,3", "1, 2, 3"},
    {"1.234.567", "1234567"},
    {"80e anniversaire, 91e, 71e, 9e, 5e, 30e, 10e",
     "quatre-vingtième anniversaire, quatre-vingt-onzième, soixante et onzième, neuvième, cinquième, trentième, "
     "dixième"},
    {"Ils sont sept.", "Ils sont sept."},
    {"le 15 sept. 2024", "le 15 septembre 2024"},
    {"C'est un vol.", "C'est un vol."},
    {"1\u202f234\u202f567 et 1\u00a0234,5", "1234567 et 1234 virgule 5"},
};

static const struct row spanish[] = {
    {"Cuesta 5,99 €.", "Cuesta 5 euros con 99."},
    {"Cuesta 1 € o 0,99 €.", "Cuesta un euro o 99 céntimos."},
    {"$5.99", "5 dólares con 99"},
    {"5 millones €", "5 millones de euros"},
    {"1.234.567 personas", "1234567 personas"},
    {"1.234,50 €", "1234 euros con 50"},
    {"1 234 567", "1234567"},
    {"Pi es 3,14.", "Pi es 3 coma 14."},
    {"Mide 1,05 m.", "Mide 1 coma 0 5 metros."},
    {"3.14", "3 punto 14"},
    {"A las 10:30.", "A las 10 y 30."},
    {"A las 10:00 h.", "A las 10 horas."},
    {"a la 1:30", "a la una y 30"},
    {"a las 21:00", "a las veintiuna"},
    {"El 15/03/2024.", "El 15 de marzo de 2024."},
    {"2024-03-15", "15 de marzo de 2024"},
    {"el 15-3-2024", "el 15 de marzo de 2024"},
    {"1.º y 2.ª y 3.er piso", "primero y segunda y tercer piso"},
    {"21.º aniversario", "vigésimo primero aniversario"},
    {"el 1º", "el primero"},
    {"Felipe VI", "Felipe sexto"},
    {"Isabel II", "Isabel segunda"},
    {"Alfonso XIII", "Alfonso 13"},
    {"el siglo XIX", "el siglo 19"},
    {"s. XX", "siglo 20"},
    {"Sr. López y Sra. Pérez", "señor López y señora Pérez"},
    {"la Srta. D. Juan", "la señorita don Juan"},
    {"Dr. Ruiz y Dra. Gil", "doctor Ruiz y doctora Gil"},
    {"manzanas, etc.", "manzanas, etcétera."},
    {"p. ej. esto", "por ejemplo esto"},
    {"EE. UU.", "Estados Unidos."},
    {"en EE. UU. hay", "en Estados Unidos hay"},
    {"n.º 5", "número 5"},
    {"Ud. y Uds. saben", "usted y ustedes saben"},
    {"pág. 5", "página 5"},
    {"44 a. C.", "44 antes de Cristo."},
    {"en 44 a. C. murió", "en 44 antes de Cristo murió"},
    {"-5 °C", "menos 5 grados Celsius"},
    {"5 % y 100%", "5 por ciento y 100 por ciento"},
    {"120 km/h", "120 kilómetros por hora"},
    {"1 km, 1 h, 2 h", "un kilómetro, una hora, 2 horas"},
    {"10–20 km", "10 a 20 kilómetros"},
    {"½, 2½, 3/4, 2/3", "un medio, 2 y medio, tres cuartos, dos tercios"},
    {"91 234 56 78", "9 1, 2 3 4, 5 6, 7 8"},
    {"teléfono 912 345 678", "teléfono 9 1 2, 3 4 5, 6 7 8"},
    {"+34 912 345 678", "más 3 4, 9 1 2, 3 4 5, 6 7 8"},
    {"007", "0 0 7"},
    {"www.ejemplo.es/a", "www punto ejemplo punto es barra a"},
    {"juan@ejemplo.es", "juan arroba ejemplo punto es"},
    {"A & B", "A y B"},
    {"2 + 2 = 4", "2 más 2 igual a 4"},
    {"3 × 4", "3 por 4"},
    {"@juan #hola", "arroba juan etiqueta hola"},
    {"978-84-376-0494-7", "9 7 8, 8 4, 3 7 6, 0 4 9 4, 7"},
    {"16:9", "16 a 9"},
    {"1,2,3", "1, 2, 3"},
    {"Esta es una frase normal, ¿no?", "Esta es una frase normal, ¿no?"},
    {"a las 5 p. m.", "a las 5 de la tarde."},
    {"2,5 GHz", "2 coma 5 gigahercios"},
};

static const struct row any[] = {
    {"1,234,567", "1234567"},
    {"1.234.567 abc 3.14 2,5%", "1234567 abc 3 14 2 5%"},
    {"juan@ejemplo.it e https://www.a.it/b.", "juan @ ejemplo it e www a it b."},
    {"1,2,3", "1 2 3"},
    {"Una frase normale, sì.", "Una frase normale, sì."},
};

// Comes out byte for byte.
static const char *const plain[] = {
    "Es war einmal ein König, der hatte 3 Töchter und 12 Söhne.",
    "„Wohin gehst du?“, fragte sie – und er schwieg …",
    "Il y avait une fois un roi ; il avait 3 filles et 12 fils !",
    "L'été dernier, j'ai vu la mer : c'était beau.",
    "Había una vez un rey que tenía 3 hijas y 12 hijos.",
    "¿Adónde vas?, preguntó ella; y él calló...",
    "",
    " ",
};

static const struct {
    const char *name;
    const struct row *rows;
    size_t n_rows;
} languages[] = {
    {"de", german, sizeof german / sizeof *german},
    {"fr-fr", french, sizeof french / sizeof *french},
    {"es", spanish, sizeof spanish / sizeof *spanish},
    {"nl", any, sizeof any / sizeof *any},
};
enum { N_LANGUAGES = sizeof languages / sizeof *languages };

static int check(const char *language, const char *written, const char *spoken) {
    struct str out = {0};
    assert_ok(normalize_sentence(language, written, strlen(written), &out));
    int wrong = strcmp(str_text(&out), spoken) != 0;
    if (wrong) print_error("%s: %s\n  is  %s\n  not %s\n", language, written, str_text(&out), spoken);
    str_free(&out);
    return wrong;
}

static void test_rows(void **state) {
    (void)state;
    int n_wrong = 0;
    for (int l = 0; l < N_LANGUAGES; l++) {
        for (size_t i = 0; i < languages[l].n_rows; i++)
            n_wrong += check(languages[l].name, languages[l].rows[i].written, languages[l].rows[i].spoken);
    }
    assert_int_equal(n_wrong, 0);
}

static void test_plain_text_stays(void **state) {
    (void)state;
    int n_wrong = 0;
    for (int l = 0; l < N_LANGUAGES; l++) {
        for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
            n_wrong += check(languages[l].name, plain[i], plain[i]);
    }
    assert_int_equal(n_wrong, 0);
}

// Whatever is written, no number is left that the phonemizer would tear apart.
static void test_no_mark_stays_between_digits(void **state) {
    (void)state;
    static const char *const pieces[] = {"1",     "23", "456",  "0", "07", ".",     ",",    ".",    ",",
                                         " ",     "-",  "–",    "/", ":",  "€",     "$",    "%",    "°C",
                                         "km",    "h",  " Uhr", "½", "+",  "(",     "XIV",  "e",    "º",
                                         " Mio.", "®",  "a.b",  "@", "€ ", "www.a", "\xff", "Dr. ", "Ludwig "};
    enum { N_PIECES = sizeof pieces / sizeof *pieces, N_TEXTS = 3000, LONGEST = 14 };
    for (int l = 0; l < N_LANGUAGES; l++) {
        uint32_t random = 1;
        for (int i = 0; i < N_TEXTS; i++) {
            struct str text = {0}, out = {0};
            for (int k = 0; k < LONGEST; k++) {
                random = random * 1664525u + 1013904223u;
                str_puts(&text, pieces[(random >> 16) % N_PIECES]);
            }
            assert_ok(normalize_sentence(languages[l].name, text.data, text.len, &out));
            const char *p = str_text(&out);
            for (size_t k = 1; k + 1 < out.len; k++)
                if ((p[k] == '.' || p[k] == ',') && p[k - 1] >= '0' && p[k - 1] <= '9' && p[k + 1] >= '0' &&
                    p[k + 1] <= '9')
                    fail_msg("%s: %s\n  is %s", languages[l].name, text.data, p);
            str_free(&text);
            str_free(&out);
        }
    }
}

// What would make a careless pattern slow; the test is that it ends.
static void test_long_text(void **state) {
    (void)state;
    static const char *const pieces[] = {"1",     "1.", "1,", "1 ", "1-", "0 1", "a.", "www.",
                                         "www.!", "a@", "a-", "(",  " ",  "12:", "X",  "Dr."};
    for (int l = 0; l < N_LANGUAGES; l++) {
        for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
            struct str text = {0}, out = {0};
            while (text.len < 4096) str_puts(&text, pieces[i]);
            assert_ok(normalize_sentence(languages[l].name, text.data, text.len, &out));
            str_free(&text);
            str_free(&out);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_plain_text_stays),
        cmocka_unit_test(test_no_mark_stays_between_digits),
        cmocka_unit_test(test_long_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
