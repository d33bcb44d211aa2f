/* Runs a target over the files of its kept corpus: inputs that once failed and
   seeds. Arguments: files and directories. */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

static void replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct stat info;
    if (!f || fstat(fileno(f), &info) != 0) {
        perror(path);
        exit(1);
    }
    /* Exactly as large as the input: a read behind it is seen. */
    size_t size = (size_t)info.st_size;
    uint8_t *data = malloc(size);
    if ((!data && size) || fread(data, 1, size, f) != size) {
        perror(path);
        exit(1);
    }
    fclose(f);
    LLVMFuzzerTestOneInput(data, size);
    free(data);
}

static unsigned replay_directory(const char *path, DIR *directory)
{
    unsigned count = 0;
    struct dirent *entry;
    while ((entry = readdir(directory))) {
        char file[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        fprintf(stderr, "%s\n", file);
        replay_file(file);
        count++;
    }
    return count;
}

int main(int argc, char **argv)
{
    unsigned count = 0;
    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        if (directory) {
            count += replay_directory(argv[i], directory);
            closedir(directory);
        } else {
            replay_file(argv[i]);
            count++;
        }
    }
    printf("%u inputs\n", count);
    return count ? 0 : 1;
}
