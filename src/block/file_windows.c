/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Windows: found or made, mapped, given back.  See file_windows.h.
 *
 * A window that was made before the file was last released or taken (common->taken) is not handed
 * out any more: another one takes its place in the table, and those who have it still give it back
 * at their next read.
 */
#include <stdlib.h>
#include <sys/mman.h>
#include "block/file_windows.h"

/* Of @place, and of now; or NULL. */
static struct map_window *find_locked(struct file_common *common, uint32_t place)
{
	struct map_window *w = common->windows ? common->windows[place] : NULL;

	return w && w->taken == atomic_load(&common->taken) ? w : NULL;
}

static struct map_window *make(const struct file_common *common, uint32_t place)
{
	struct map_window *w = calloc(1, sizeof(*w));

	if (w) {
		w->place = place;
		w->taken = atomic_load(&common->taken);
	}
	return w;
}

struct map_window *file_window_get(struct file_common *common, uint32_t place)
{
	struct map_window *w;

	pthread_mutex_lock(&common->windows_lock);
	if (!common->windows)
		common->windows = calloc(PLACES, sizeof(common->windows[0]));
	w = find_locked(common, place);
	if (!w && common->windows) {
		w = make(common, place);
		if (w)
			common->windows[place] = w;
	}
	if (w)
		w->users++;
	pthread_mutex_unlock(&common->windows_lock);
	return w;
}

void file_window_put(struct file_common *common, struct map_window *w)
{
	bool last;
	char *at;

	pthread_mutex_lock(&common->windows_lock);
	last = !--w->users;
	if (last && common->windows[w->place] == w)
		common->windows[w->place] = NULL;
	pthread_mutex_unlock(&common->windows_lock);
	if (!last)
		return;
	at = atomic_load(&w->at);
	if (at)
		munmap(at, 1ul << WINDOW_BITS);
	free(w);
}

char *file_window_map(struct file_common *common, struct map_window *w)
{
	char *at = atomic_load_explicit(&w->at, memory_order_acquire), *there = NULL;

	if (at)
		return at;
	at = mmap(NULL, 1ul << WINDOW_BITS, PROT_READ, MAP_SHARED, common->fd,
		  (off_t)((uint64_t)w->place << WINDOW_BITS));
	if (at == MAP_FAILED)
		return NULL;
	/* Somebody else's may be there meanwhile. */
	if (atomic_compare_exchange_strong(&w->at, &there, at))
		return at;
	munmap(at, 1ul << WINDOW_BITS);
	return there;
}
