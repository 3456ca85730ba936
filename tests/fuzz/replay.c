/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A harness as an ordinary program, without libFuzzer: it plays inputs from files and folders, or
 * makes some up from a seed.  Usage: PROGRAM [-r COUNT SEED] [FILE | FOLDER ...]
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned played;

static void play_random(unsigned count, unsigned seed)
{
	uint8_t buf[4096];

	for (unsigned i = 0; i < count; i++) {
		size_t n = 64 + (size_t)rand_r(&seed) % (sizeof(buf) - 64);

		for (size_t k = 0; k < n; k++)
			buf[k] = (uint8_t)(rand_r(&seed) >> 8);
		LLVMFuzzerTestOneInput(buf, n);
		played++;
	}
}

static int play_file(const char *path)
{
	static uint8_t buf[1 << 20];
	FILE *f = fopen(path, "rbe");
	size_t n;

	if (!f) {
		fprintf(stderr, "replay: cannot open %s\n", path);
		return 1;
	}
	n = fread(buf, 1, sizeof(buf), f);
	fclose(f);
	/* A copy of exactly this length, so that a sanitizer sees a read behind it. */
	uint8_t *exact = malloc(n ? n : 1);

	if (!exact)
		return 1;
	memcpy(exact, buf, n);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	played++;
	return 0;
}

/* The folder is closed again before the first input: harnesses count descriptors. */
static int play_path(const char *path)
{
	struct dirent **entries;
	int n = scandir(path, &entries, NULL, alphasort), r = 0;

	if (n < 0)
		return play_file(path);
	for (int i = 0; i < n; i++) {
		char name[4096];

		if (entries[i]->d_name[0] != '.') {
			snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
			r |= play_file(name);
		}
		free(entries[i]);
	}
	free(entries);
	return r;
}

int main(int argc, char **argv)
{
	int i = 1, r = 0;

	if (argc > 3 && !strcmp(argv[1], "-r")) {
		play_random((unsigned)atoi(argv[2]), (unsigned)atoi(argv[3]));
		i = 4;
	}
	for (; i < argc; i++)
		r |= play_path(argv[i]);
	printf("%u inputs\n", played);
	return r || !played;
}
