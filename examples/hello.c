#include <albertdb/albertdb.h>
#include <stdio.h>

int main(void)
{
    adb *db;
    adb_value value;
    if (adb_open("./data", NULL, &db) != ADB_OK ||
        adb_put(db, NULL, "hello", 5, "world", 5) != ADB_OK ||
        adb_get(db, NULL, "hello", 5, &value) != ADB_OK) {
        fprintf(stderr, "%s\n", adb_error_message());
        return 1;
    }
    printf("%.*s\n", (int)value.size, (const char *)value.data);
    adb_value_release(&value);
    return adb_close(db) == ADB_OK ? 0 : 1;
}
