/* sql_token.c — SQL text into tokens, by the rules of SQLite's own tokenizer (SQLite tokenize.c,
 * "sqlite3GetToken"; version 3.40).
 *
 * Whoever checks a text before SQLite sees it must cut it exactly where SQLite cuts it: otherwise a
 * comment or a quote hides a statement from one of the two. Two consequences look odd on purpose:
 * a NUL byte ends the text (it does for sqlite3_prepare), and "slash star" as the very last two
 * bytes are two operators instead of a comment.
 *
 * Never looks outside the slice: byte_at() answers 0 there, which every rule treats as the end. */
#include <rq/sql.h>

/* Byte i of what remains; 0 at and beyond the end. */
static uint8_t byte_at(struct slice s, size_t i)
{
    return i < s.len ? s.data[i] : 0;
}

static bool is_space(uint8_t c) /* inside a run of white space; 0x0b may not start one */
{
    return c == ' ' || (c >= 0x09 && c <= 0x0d);
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static uint8_t to_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool is_hex(uint8_t c)
{
    return is_digit(c) || (to_lower(c) >= 'a' && to_lower(c) <= 'f');
}

static bool is_word_start(uint8_t c)
{
    return (to_lower(c) >= 'a' && to_lower(c) <= 'z') || c == '_' || c >= 0x80;
}

static bool is_word(uint8_t c)
{
    return is_word_start(c) || is_digit(c) || c == '$';
}

/* ---- what is passed over ----------------------------------------------------------------------
 */

static size_t line_comment_len(struct slice s)
{
    size_t i = 2;
    while (byte_at(s, i) != 0 && byte_at(s, i) != '\n')
        i++;
    return i;
}

/* An unterminated comment reaches to the end. */
static size_t block_comment_len(struct slice s)
{
    size_t i = 2;
    while (byte_at(s, i) != 0 && (byte_at(s, i) != '*' || byte_at(s, i + 1) != '/'))
        i++;
    return byte_at(s, i) ? i + 2 : i;
}

/* Length of the white space or comment that s begins with; 0 if there is none. */
static size_t space_len(struct slice s)
{
    uint8_t c = byte_at(s, 0);
    size_t i = 1;

    if (c == '-' && byte_at(s, 1) == '-')
        return line_comment_len(s);
    if (c == '/' && byte_at(s, 1) == '*' && byte_at(s, 2) != 0)
        return block_comment_len(s);
    if (c == 0xEF && byte_at(s, 1) == 0xBB && byte_at(s, 2) == 0xBF)
        return 3; /* byte order mark */
    if (!is_space(c) || c == 0x0b)
        return 0;
    while (is_space(byte_at(s, i)))
        i++;
    return i;
}

/* ---- tokens -----------------------------------------------------------------------------------
 */

/* 'x', "x", `x`: the delimiter doubled stands for itself. */
static size_t quoted_len(struct slice s, enum sql_token_kind *kind)
{
    uint8_t quote = byte_at(s, 0);
    size_t i = 1;

    for (; byte_at(s, i) != 0; i++) {
        if (byte_at(s, i) != quote)
            continue;
        if (byte_at(s, i + 1) != quote) {
            *kind = quote == '\'' ? SQL_TOKEN_STRING : SQL_TOKEN_QUOTED;
            return i + 1;
        }
        i++;
    }
    return i; /* unterminated: ILLEGAL */
}

static size_t bracketed_len(struct slice s, enum sql_token_kind *kind)
{
    size_t i = 1;
    while (byte_at(s, i) != 0 && byte_at(s, i) != ']')
        i++;
    if (byte_at(s, i) == 0)
        return i;
    *kind = SQL_TOKEN_QUOTED;
    return i + 1;
}

static size_t blob_len(struct slice s, enum sql_token_kind *kind)
{
    size_t i = 2;
    while (is_hex(byte_at(s, i)))
        i++;
    if (byte_at(s, i) == '\'' && i % 2 == 0)
        *kind = SQL_TOKEN_STRING;
    while (byte_at(s, i) != 0 && byte_at(s, i) != '\'')
        i++;
    return byte_at(s, i) ? i + 1 : i;
}

static size_t digits_end(struct slice s, size_t i)
{
    while (is_digit(byte_at(s, i)))
        i++;
    return i;
}

static size_t number_len(struct slice s, enum sql_token_kind *kind)
{
    size_t i;

    *kind = SQL_TOKEN_NUMBER;
    if (byte_at(s, 0) == '0' && to_lower(byte_at(s, 1)) == 'x' && is_hex(byte_at(s, 2))) {
        for (i = 3; is_hex(byte_at(s, i)); i++)
            ;
        return i;
    }
    i = digits_end(s, 0);
    if (byte_at(s, i) == '.')
        i = digits_end(s, i + 1);
    if (to_lower(byte_at(s, i)) == 'e') {
        bool sign = byte_at(s, i + 1) == '+' || byte_at(s, i + 1) == '-';
        if (is_digit(byte_at(s, i + 1 + sign)))
            i = digits_end(s, i + 1 + sign);
    }
    for (; is_word(byte_at(s, i)); i++)
        *kind = SQL_TOKEN_ILLEGAL; /* 1abc */
    return i;
}

/* :a @a $a #a, with Tcl's $a::b(c); ILLEGAL without a name or with an open parenthesis. */
static size_t named_variable_len(struct slice s, enum sql_token_kind *kind)
{
    size_t i = 1;
    size_t name_bytes = 0;

    for (;; i++) {
        uint8_t c = byte_at(s, i);
        if (is_word(c)) {
            name_bytes++;
        } else if (c == '(' && name_bytes > 0) {
            do {
                c = byte_at(s, ++i);
            } while (c != 0 && !is_space(c) && c != ')');
            if (c != ')')
                return i;
            i++;
            break;
        } else if (c == ':' && byte_at(s, i + 1) == ':') {
            i++;
        } else {
            break;
        }
    }
    if (name_bytes > 0)
        *kind = SQL_TOKEN_VARIABLE;
    return i;
}

/* Operators; 0 if s begins with none. The longest one wins. */
static size_t punct_len(struct slice s)
{
    static const char *const table[] = {
        "->>", "->", "==", "<=", "<>", "<<", ">=", ">>", "!=", "||", "=", "<", ">",
        "|",   "(",  ")",  ",",  ".",  "+",  "-",  "*",  "/",  "%",  "&", "~"};
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if ((uint8_t)table[i][0] != s.data[0])
            continue;
        size_t len = strlen(table[i]);
        if (len <= s.len && memcmp(s.data, table[i], len) == 0)
            return len;
    }
    return 0;
}

static size_t word_len(struct slice s)
{
    size_t i = 1;
    while (is_word(byte_at(s, i)))
        i++;
    return i;
}

static size_t other_len(struct slice s, enum sql_token_kind *kind)
{
    size_t len = punct_len(s);
    if (len == 0)
        return 1; /* ILLEGAL: a byte that begins nothing */
    *kind = SQL_TOKEN_PUNCT;
    return len;
}

/* Length of the token that s begins with (s not empty, no white space); *kind comes in as ILLEGAL.
 */
static size_t token_len(struct slice s, enum sql_token_kind *kind)
{
    uint8_t c = byte_at(s, 0);

    if ((c == 'x' || c == 'X') && byte_at(s, 1) == '\'')
        return blob_len(s, kind);
    if (is_word_start(c)) {
        *kind = SQL_TOKEN_WORD;
        return word_len(s);
    }
    if (is_digit(c) || (c == '.' && is_digit(byte_at(s, 1))))
        return number_len(s, kind);
    switch (c) {
    case ';':
        *kind = SQL_TOKEN_SEMICOLON;
        return 1;
    case '\'':
    case '"':
    case '`':
        return quoted_len(s, kind);
    case '[':
        return bracketed_len(s, kind);
    case '?':
        *kind = SQL_TOKEN_VARIABLE;
        return digits_end(s, 1);
    case ':':
    case '@':
    case '$':
    case '#':
        return named_variable_len(s, kind);
    default:
        return other_len(s, kind);
    }
}

void sql_tokens_init(struct sql_tokens *t, struct slice sql)
{
    t->input = sql;
    t->at = 0;
}

struct sql_token sql_tokens_next(struct sql_tokens *t)
{
    struct sql_token token = {SQL_TOKEN_END, slice_of(NULL, 0)};

    while (t->at < t->input.len) {
        struct slice rest = slice_of(t->input.data + t->at, t->input.len - t->at);
        size_t len = space_len(rest);
        if (len > 0) {
            t->at += len;
            continue;
        }
        if (rest.data[0] == 0)
            break; /* here SQLite stops reading, so nothing behind it is ever executed */
        token.kind = SQL_TOKEN_ILLEGAL;
        len = token_len(rest, &token.kind);
        token.text = slice_of(rest.data, len);
        t->at += len;
        break;
    }
    return token;
}

bool sql_token_is(struct sql_token t, const char *word)
{
    if (strlen(word) != t.text.len)
        return false;
    for (size_t i = 0; i < t.text.len; i++)
        if (to_lower(t.text.data[i]) != to_lower((uint8_t)word[i]))
            return false;
    return true;
}
