/* banner — the words at the start (daemon.md §1.8). */
#include "daemon.h"

#include <stdio.h>

void banner_print(void)
{
    static const char banner[] =
        "\n"
        "            _ _ _           _\n"
        "           | (_) |         | |\n"
        "  _ __ __ _| |_| |_ ___  __| |    SQLite, replicated by Raft,\n"
        " | '__/ _` | | | __/ _ \\/ _` |    spoken to over HTTP.\n"
        " | | | (_| | | | ||  __/ (_| |\n"
        " |_|  \\__, |_|_|\\__\\___|\\__,_|    Speaks the API documented at\n"
        "         | |                      www.rqlite.io\n"
        "         |_|\n"
        "\n";
    fputs(banner, stdout);
    fflush(stdout);
}
