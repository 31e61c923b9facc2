/* list — intrusive doubly linked list with a sentinel; no allocation. */
#ifndef RQ_UTIL_LIST_H
#define RQ_UTIL_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next; /* self when empty or unlinked */
    struct list *prev;
};

#define LIST_ENTRY(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->next = l;
    l->prev = l;
}
static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}
static inline void list_push_back(struct list *head, struct list *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}
static inline void list_remove(struct list *item) /* harmless on an unlinked, initialised item */
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}
/* First item unlinked and returned; NULL when empty. */
static inline struct list *list_pop_front(struct list *head)
{
    struct list *item = head->next;
    if (item == head)
        return NULL;
    list_remove(item);
    return item;
}

#endif
