/* api_licenses — GET /licenses: our own licence and those of the libraries this program is linked with, each
 * with a heading and a separator line. Versions are those found when it was built. */
#include "api_int.h"

#ifndef RQ_UV_VERSION
#define RQ_UV_VERSION ""
#endif
#ifndef RQ_CJSON_VERSION
#define RQ_CJSON_VERSION ""
#endif
#ifndef RQ_CRYPT_VERSION
#define RQ_CRYPT_VERSION ""
#endif
#ifndef RQ_ZSTD_VERSION
#define RQ_ZSTD_VERSION ""
#endif
#ifndef RQ_ZLIB_VERSION
#define RQ_ZLIB_VERSION ""
#endif
#ifndef RQ_OPENSSL_VERSION
#define RQ_OPENSSL_VERSION ""
#endif
#ifndef RQ_CURL_VERSION
#define RQ_CURL_VERSION ""
#endif
#ifndef RQ_CARES_VERSION
#define RQ_CARES_VERSION ""
#endif
#ifndef RQ_HTTP_PARSER_VERSION
#define RQ_HTTP_PARSER_VERSION ""
#endif

#define MIT_TERMS                                                                                  \
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this\n"       \
    "software and associated documentation files (the \"Software\"), to deal in the Software\n"    \
    "without restriction, including without limitation the rights to use, copy, modify, merge,\n"  \
    "publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons\n" \
    "to whom the Software is furnished to do so, subject to the following conditions:\n"           \
    "\n"                                                                                           \
    "The above copyright notice and this permission notice shall be included in all copies or\n"   \
    "substantial portions of the Software.\n"                                                      \
    "\n"                                                                                           \
    "THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED,\n"      \
    "INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR\n"   \
    "PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE\n"  \
    "FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR\n"       \
    "OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER\n"     \
    "DEALINGS IN THE SOFTWARE.\n"

/* A library that is linked anew gets a row: tests/integration/observe.py compares with what the program
 * wants loaded. version NULL: told at run time. */
struct notice {
    const char *name, *version, *licence, *home, *text;
};

static const struct notice notices[] = {
    {"rqlited", NULL, "MIT", NULL, "Copyright (c) 2026 The rqlited authors\n\n" MIT_TERMS},
    {"SQLite", NULL, "public domain", "https://sqlite.org/copyright.html",
     "The author disclaims copyright to this source code. In place of a legal notice, here is a\n"
     "blessing:\n"
     "\n"
     "    May you do good and not evil.\n"
     "    May you find forgiveness for yourself and forgive others.\n"
     "    May you share freely, never taking more than you give.\n"},
    {"libuv", RQ_UV_VERSION, "MIT", "https://libuv.org",
     "Copyright (c) 2015-present libuv project contributors.\n"
     "Copyright (c) 2011-2015 Joyent, Inc. and other Node contributors.\n"
     "\n" MIT_TERMS},
    {"http_parser", RQ_HTTP_PARSER_VERSION, "MIT", "https://github.com/nodejs/http-parser",
     "Based on src/http/ngx_http_parse.c from NGINX, copyright Igor Sysoev.\n"
     "Copyright (c) 2009-2013 Joyent, Inc. and other Node contributors. All rights reserved.\n"
     "\n" MIT_TERMS},
    {"cJSON", RQ_CJSON_VERSION, "MIT", "https://github.com/DaveGamble/cJSON",
     "Copyright (c) 2009-2017 Dave Gamble and cJSON contributors\n"
     "\n" MIT_TERMS},
    {"libzstd", RQ_ZSTD_VERSION, "BSD-3-Clause", "https://facebook.github.io/zstd/",
     "Copyright (c) Meta Platforms, Inc. and affiliates. All rights reserved.\n"
     "Linked dynamically and unchanged, under the BSD licence:\n"
     "https://github.com/facebook/zstd/blob/dev/LICENSE\n"},
    {"OpenSSL", RQ_OPENSSL_VERSION, "Apache-2.0", "https://www.openssl.org",
     "Copyright (c) 1998 The OpenSSL Project Authors. All rights reserved.\n"
     "Linked dynamically and unchanged, under the Apache License, version 2.0:\n"
     "https://www.apache.org/licenses/LICENSE-2.0\n"},
    {"libcurl", RQ_CURL_VERSION, "curl", "https://curl.se/docs/copyright.html",
     "Copyright (c) 1996 - 2022, Daniel Stenberg, <daniel@haxx.se>, and many contributors.\n"
     "All rights reserved. Permission to use, copy, modify, and distribute this software for any "
     "purpose\n"
     "with or without fee is hereby granted, provided that the above copyright notice and this "
     "permission\n"
     "notice appear in all copies.\n"},
    {"c-ares", RQ_CARES_VERSION, "MIT", "https://c-ares.org",
     "Copyright (c) 2007 - 2018, Daniel Stenberg with many contributors.\n"
     "Copyright 1998 by the Massachusetts Institute of Technology.\n"
     "\n" MIT_TERMS},
    {"zlib", RQ_ZLIB_VERSION, "Zlib", "https://zlib.net",
     "Copyright (C) 1995-2022 Jean-loup Gailly and Mark Adler\n"
     "Linked dynamically and unchanged. This software is provided 'as-is', without any express or\n"
     "implied warranty. Permission is granted to anyone to use, alter and redistribute it freely:\n"
     "https://zlib.net/zlib_license.html\n"},
    {"libcrypt (libxcrypt)", RQ_CRYPT_VERSION, "LGPL-2.1-or-later",
     "https://github.com/besser82/libxcrypt",
     "Copyright Thorsten Kukuk, Bjorn Esser, Zack Weinberg and others.\n"
     "Linked dynamically and unchanged; it may be replaced by another version. Its bcrypt is by "
     "Solar\n"
     "Designer and in the public domain. The GNU Lesser General Public License, version 2.1:\n"
     "https://www.gnu.org/licenses/old-licenses/lgpl-2.1.html\n"},
    {"GNU C Library", "", "LGPL-2.1-or-later", "https://www.gnu.org/software/libc/",
     "Copyright Free Software Foundation, Inc. Linked dynamically and unchanged.\n"
     "https://www.gnu.org/licenses/old-licenses/lgpl-2.1.html\n"},
};

static void notice_put(struct buf *text, const struct notice *n, const char *version)
{
    buf_append_str(text, n->name);
    if (version && version[0] != '\0')
        buf_printf(text, " %s", version);
    buf_printf(text, "\nLicence: %s\n", n->licence);
    if (n->home)
        buf_printf(text, "%s\n", n->home);
    buf_append_str(text, "-------------------------------------------------------------------------"
                         "-----------------\n");
    buf_append_str(text, n->text);
    buf_append_byte(text, '\n');
}

void api_licenses(struct api_request *r)
{
    const struct api *a = r->conn->api;
    struct buf text;
    buf_init(&text, 256 * 1024);
    for (size_t i = 0; i < sizeof notices / sizeof notices[0]; i++)
        notice_put(&text, &notices[i],
                   i == 0               ? a->version
                   : notices[i].version ? notices[i].version
                                        : a->facts.sqlite_version);
    api_reply_buf(r, API_TYPE_TEXT, &text);
    buf_fini(&text);
}
