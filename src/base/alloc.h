/*
 * The one place from which the library takes heap memory, so that a test can
 * make the n-th allocation fail. Functions return NULL when out of memory;
 * callers turn that into ADB_NO_MEMORY.
 */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stddef.h>

void *mem_alloc(size_t size) __attribute__((malloc, alloc_size(1)));
void *mem_zalloc(size_t size) __attribute__((malloc, alloc_size(1)));
void *mem_realloc(void *pointer, size_t size) __attribute__((alloc_size(2)));
/* alignment: a power of two, size need not be a multiple of it. */
void *mem_aligned_alloc(size_t alignment, size_t size)
    __attribute__((malloc, alloc_size(2)));
char *mem_strdup(const char *text);
void mem_free(void *pointer); /* also for aligned memory; NULL is fine */

/* Tests only: asked before each allocation, returns nonzero to make it fail.
   Set while no other thread allocates; NULL removes it. */
typedef int (*mem_fail_hook)(void *context, size_t size);
void mem_set_fail_hook(mem_fail_hook hook, void *context);
/* For memory that comes from elsewhere (env_anonymous_reserve): nonzero when
   the hook wants this allocation to fail. */
int mem_must_fail(size_t size);

#endif
