/* test_judge.c — histories written down by others: each of the corpus is judged as it says, bad ones for their
 * named reason. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sim_judge.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CORPUS "tests/golden/judge/corpus.txt"

struct scene {
    char name[200], verdict[200];
    char text[8192];
};

static void judge(struct scene *s)
{
    static const char *const words[] = {"good", "bad ", "invalid "};
    struct sim_judge_counts counts;
    struct err_text why = {""};
    FILE *f = tmpfile();

    assert_non_null(f);
    (void)fputs(s->text, f);
    rewind(f);
    enum sim_judgement got = sim_judge(f, &counts, &why);
    (void)fclose(f);
    size_t head = strlen(words[got]);
    if (strncmp(s->verdict, words[got], head) != 0 || !strstr(why.text, s->verdict + head))
        fail_msg("\"%s\" should be %s; is %s: %s", s->name, s->verdict, words[got], why.text);
}

static void test_corpus_is_judged_as_it_says(void **state)
{
    static struct scene s;
    char line[1000];
    unsigned scenes = 0;
    FILE *f = fopen(CORPUS, "r");

    (void)state;
    assert_non_null(f);
    for (bool more = true; more;) {
        more = fgets(line, sizeof(line), f) != NULL;
        if (!more || line[0] == '=') {
            if (s.name[0])
                judge(&s);
            scenes += s.name[0] != '\0';
            s.text[0] = '\0';
            if (more)
                assert_int_equal(sscanf(line, "= %199[^:]: %199[^\n]", s.name, s.verdict), 2);
        } else if (line[0] == '{') {
            assert_true(strlen(s.text) + strlen(line) < sizeof(s.text));
            (void)strcat(s.text, line);
        }
    }
    (void)fclose(f);
    assert_in_range(scenes, 22, 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_corpus_is_judged_as_it_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
