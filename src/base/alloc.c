#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

static mem_fail_hook fail_hook;
static void *fail_context;

void mem_set_fail_hook(mem_fail_hook hook, void *context)
{
    fail_hook = hook;
    fail_context = context;
}

int mem_must_fail(size_t size)
{
    return fail_hook && fail_hook(fail_context, size);
}

void *mem_alloc(size_t size)
{
    return mem_must_fail(size) ? NULL : malloc(size ? size : 1);
}

void *mem_zalloc(size_t size)
{
    return mem_must_fail(size) ? NULL : calloc(1, size ? size : 1);
}

void *mem_realloc(void *pointer, size_t size)
{
    return mem_must_fail(size) ? NULL : realloc(pointer, size ? size : 1);
}

void *mem_aligned_alloc(size_t alignment, size_t size)
{
    if (mem_must_fail(size))
        return NULL;
    /* aligned_alloc wants a multiple of the alignment. */
    size_t rounded = (size + alignment - 1) & ~(alignment - 1);
    return aligned_alloc(alignment, rounded ? rounded : alignment);
}

char *mem_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = mem_alloc(size);
    if (copy)
        memcpy(copy, text, size);
    return copy;
}

void mem_free(void *pointer)
{
    free(pointer);
}
