/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A model's state as sections (uvfio/migration.h), without a core: taken out of one device, changed
 * by a test, put into another.  The harness says what uvfio_paused() is.
 */
#ifndef UVFIO_TESTS_MODEL_STREAM_H
#define UVFIO_TESTS_MODEL_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uvfio/device.h>
#include <uvfio/migration.h>

#define MODEL_SECTIONS 1024u

struct model_section {
	char kind[5];
	uint32_t version;
	uint8_t *bytes;
	size_t len;
};

struct model_stream {
	struct model_section sections[MODEL_SECTIONS];
	unsigned nr;
};

/* All that the stopped device gives. */
void model_stream_save(struct model_stream *s, const struct uvfio_migration_ops *ops, void *priv);
/* One call of ->save(), whose sections are added; and one of ->load(). */
int model_stream_save_some(struct model_stream *s, const struct uvfio_migration_ops *ops,
			   void *priv, bool stopped, bool first);
int model_stream_load_one(const struct model_section *section,
			  const struct uvfio_migration_ops *ops, void *priv, bool first,
			  struct uvfio_error *err);
/* Sections in their order, until one is refused; then commit.  What the model says. */
int model_stream_load(const struct model_stream *s, const struct uvfio_migration_ops *ops,
		      void *priv, struct uvfio_error *err);
/* The section of this kind, the @n-th. */
struct model_section *model_stream_find(struct model_stream *s, const char *kind, unsigned n);
void model_stream_copy(struct model_stream *to, const struct model_stream *from);
void model_stream_drop(struct model_stream *s);

#endif
