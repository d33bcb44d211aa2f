/* The verbs: names, help, what each takes, where it runs. */
#include "cli.h"

#include <string.h>

enum { ANY_NUMBER = 1 << 20 };

static const struct verb verbs[] = {
    {"shell", "", "an interactive shell",
     "Reads commands from standard input: with editing and history at a\n"
     "terminal (kept in ~/.albertdb_history, or $ALBERTDB_HISTORY; empty: not\n"
     "kept), as they are from a file or pipe, where the exit code is that of\n"
     "the first command that failed. The command help lists them.\n"
     "example: albertdb shell --db ./data\n"
     "example: echo 'put a 1' | albertdb shell --db ./data\n",
     0, 0, OPTIONS_WRITE, true, false, run_shell},
    {"get", "KEY", "print the value of a key",
     "Into a pipe or file its bytes go as they are and nothing else; at a\n"
     "terminal unprintable ones show as \\xNN and a line end follows.\n"
     "example: albertdb get --db ./data 0041\n",
     1, 1, OPTIONS_JSON | OPTIONS_HEX, false, true, run_get},
    {"put", "KEY VALUE", "write a pair",
     "VALUE - is standard input, byte for byte.\n"
     "example: albertdb put --db ./data greeting 'hello world'\n"
     "example: albertdb put --db ./data photo - < photo.jpg\n",
     2, 2, OPTIONS_HEX | OPTIONS_WRITE, true, true, run_put},
    {"delete", "KEY...", "remove keys",
     "All of them at once or none. A key that is not there is no failure.\n"
     "example: albertdb delete --db ./data greeting\n",
     1, ANY_NUMBER, OPTIONS_HEX | OPTIONS_WRITE, false, true, run_delete},
    {"scan", "", "print pairs in key order",
     "A line is key, tab, value, unprintable bytes as \\xNN; with --json\n"
     "{\"key\":\"...\",\"value\":\"...\"}.\n"
     "example: albertdb scan --db ./data --prefix 1F6 --limit 5\n",
     0, 0,
     OPTIONS_JSON | OPTIONS_HEX | OPTIONS_BOUNDS | OPTIONS_PREFIX |
         OPTIONS_WALK | OPTIONS_KEYS,
     false, true, run_scan},
    {"load", "FILE", "write the pairs of a file (- is standard input)",
     "json: lines {\"key\":\"...\",\"value\":\"...\"}; what is no UTF-8\n"
     "stands as {\"base64\":\"...\"} in place of the string. csv: RFC 4180.\n"
     "tsv: key, tab, value, with the escapes \\t \\n \\r \\\\ \\xNN. Without\n"
     "--format the ending of the name decides: .csv, .tsv or .txt, else json.\n"
     "At a malformed line load stops with its number; the pairs before it\n"
     "stay.\n"
     "example: albertdb load --db ./data pairs.csv --header\n",
     1, 1,
     OPTIONS_JSON | OPTIONS_HEX | OPTIONS_WRITE | OPTIONS_FILE | OPTIONS_LOAD,
     true, true, run_load},
    {"dump", "[FILE]", "write all pairs in a form that load reads back",
     "To standard output without FILE, or with -. The format is chosen as by\n"
     "load, which reads back what dump wrote, whatever bytes there are.\n"
     "example: albertdb dump --db ./data pairs.tsv\n"
     "example: albertdb dump --db a | albertdb load --db b -\n",
     0, 1,
     OPTIONS_HEX | OPTIONS_BOUNDS | OPTIONS_PREFIX | OPTIONS_WALK |
         OPTIONS_FILE,
     false, true, run_dump},
    {"stats", "", "print statistics",
     "Counters begin when the database is opened, here by the tool itself.\n"
     "example: albertdb stats --db ./data --json\n",
     0, 0, OPTIONS_JSON, false, true, run_stats},
    {"levels", "", "draw the sorted runs of tables, newest first",
     "example: albertdb levels --db ./data\n",
     0, 0, OPTIONS_JSON, false, true, run_levels},
    {"verify", "", "read and check every byte; list damage",
     "A line for each damaged piece, and exit code 3 when there is any.\n"
     "example: albertdb verify --db ./data\n",
     0, 0, OPTIONS_JSON, false, true, run_verify},
    {"repair", "", "make a damaged database whole; list what is lost",
     "Works where it does not open any more. --dry-run only looks and lists;\n"
     "--skip-unreadable takes what the system cannot read for damaged. Files\n"
     "that are replaced go to PATH/lost. Exit code 3 when there was damage.\n"
     "example: albertdb repair --db ./data --dry-run\n",
     0, 0, OPTIONS_JSON | OPTIONS_REPAIR, false, false, run_repair},
    {"compact", "", "merge tables into one sorted run",
     "All of them, or those with keys from --from up to and with --to.\n"
     "example: albertdb compact --db ./data\n",
     0, 0, OPTIONS_JSON | OPTIONS_HEX | OPTIONS_BOUNDS, false, true,
     run_compact},
    {"bench", "", "measure the main loops",
     "Workloads: fillseq fillrandom fillbatch overwrite deleterandom\n"
     "readrandom readmissing readseq readreverse seekrandom. They run in a\n"
     "new directory beside PATH that is removed at the end; each fill begins\n"
     "with an empty database. Without --durability it is process.\n"
     "example: albertdb bench --num 500000 --workloads fillseq,readrandom\n",
     0, 0, OPTIONS_JSON | OPTIONS_WRITE | OPTIONS_BENCH, true, false,
     run_bench},
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

const struct verb *verb_at(size_t index)
{
    return index < VERBS ? &verbs[index] : NULL;
}

const struct verb *verb_find(const char *name)
{
    for (size_t i = 0; i < VERBS; i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}
