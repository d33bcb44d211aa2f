/* Copying the entry under an iterator, for iterators made of others. */
#ifndef ITER_ENTRY_H
#define ITER_ENTRY_H

#include "kv/iterator.h"

/*
 * it shows what from shows (valid or not). Word by word: the source has mostly
 * just stored these fields, as words, and a compiler that copies a slice as
 * one 16-byte load makes it wait for both stores to leave the store buffer;
 * that was 3 ns of a 9 ns step.
 */
static inline void iter_copy_entry(struct kv_iter *it,
                                   const struct kv_iter *from)
{
    const void *key = from->key.data, *value = from->value.data;
    size_t key_size = from->key.size, value_size = from->value.size;
    __asm__("" : "+r"(key), "+r"(key_size), "+r"(value), "+r"(value_size));
    it->valid = from->valid;
    it->lasting = from->lasting;
    it->kind = from->kind;
    it->seq = from->seq;
    it->head = from->head;
    it->key.data = key;
    it->key.size = key_size;
    it->value.data = value;
    it->value.size = value_size;
}

#endif
