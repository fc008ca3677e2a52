/* The page at GET /, carried inside the program (page.S is made by the build from web/page.html). */
#ifndef UTTER_SERVER_PAGE_H
#define UTTER_SERVER_PAGE_H

extern const unsigned char page_html[], page_html_end[];
extern const char page_policy[];  // its Content-Security-Policy

#endif
