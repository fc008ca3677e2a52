#!/bin/sh
# embed.sh FILE OUT: assembly that carries the page, and the policy by which a browser runs its script and style alone
# (page.h). The page has one of each, whose tags stand on lines of their own.
set -eu
hash_of() { # tag
    { echo; sed -n "/^<$1>\$/,/^<\/$1>\$/p" "$page" | sed '1d;$d'; } | sha256sum | cut -d' ' -f1 | tr a-f A-F |
        basenc --base16 -d | base64
}
page=$1
for tag in script style; do
    [ "$(grep -c "<$tag" "$page")" = 1 ] && grep -qx "<$tag>" "$page" && continue
    echo "$page must have one <$tag>, on a line of its own" >&2
    exit 1
done
policy="default-src 'none'; script-src 'sha256-$(hash_of script)'; style-src 'sha256-$(hash_of style)'; connect-src 'self';\
 img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
cat >"$2" <<EOF
    .section .rodata
    .globl page_html, page_html_end, page_policy
    .hidden page_html, page_html_end, page_policy
page_html:
    .incbin "$page"
page_html_end:
    .byte 0
page_policy:
    .asciz "$policy"
    .section .note.GNU-stack,"",%progbits
EOF
