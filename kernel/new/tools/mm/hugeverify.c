// SPDX-License-Identifier: GPL-2.0-only OR BSD-3-Clause

/*
 * hugeverify: were huge pages handed over as they were?
 *
 * "hugeverify record" writes down, before a live update, where the huge pages
 * of chosen files or processes are and what is in them. After it, another
 * "hugeverify record" does the same, and "hugeverify compare" tells what
 * differs.
 *
 * Recording changes nothing: holes stay holes and nothing is reserved. That
 * takes some care, as a file on hugetlbfs does not say where its holes are
 * (SEEK_DATA and mincore() do not), and reading a hole through a mapping fills
 * it. So the file is mapped privately, without a reservation, and registered
 * with a userfaultfd that answers a fault into a hole by SIGBUS;
 * MADV_POPULATE_READ then maps a page that is there and fails on a hole. In a
 * kernel without userfaultfd, read() tells the pages that are not all zeroes;
 * if these are as many as the file has, the rest are holes, else hugeverify
 * gives up.
 *
 * The file format is text, one thing a line, fields separated by one space:
 *
 *   hugeverify 1
 *   counter NAME VALUE
 *   file LABEL page_size=BYTES size=BYTES pages=N name=NAME
 *   page INDEX frame=HEX node=N flags=HEX hash=HEX
 *   end
 *
 * The number in the first line is the version of the format. A counter's NAME
 * is pool/SIZEkB/all/FILE or pool/SIZEkB/nodeN/FILE with what
 * /sys/kernel/mm/hugepages and /sys/devices/system/node have, or
 * cgroup/PATH/FILE with what the hugetlb controller has, where that is not 0.
 * The N pages of a file follow its line, by INDEX, in units of its page size
 * and counted from the beginning of the file; what is not listed is a hole. Of
 * a process each mapping of huge pages is a file, its name that of the label,
 * a slash and a number, in the order of the addresses; what is not in the
 * page tables of the process counts as a hole there. The flags are those of
 * /proc/kpageflags. The hash is XXH64 with seed 0 of all the page's bytes. A
 * field that could not be told (frames and flags take CAP_SYS_ADMIN) is "-". In
 * labels and names every byte that is not a letter, a digit or one of
 * "/:._+-,()@" is written as % and two hexadecimal digits. Nothing follows
 * "end", and a file without it is incomplete.
 *
 * Builds with glibc and with nolibc.
 */

#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <linux/kernel-page-flags.h>
#include <linux/magic.h>
#include <linux/unistd.h>
#include <linux/userfaultfd.h>

#ifdef NOLIBC
#include <asm-generic/statfs.h>
#else
#include <sys/statfs.h>
#endif

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef EHWPOISON
#define EHWPOISON 133
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef O_CLOEXEC
#define O_CLOEXEC 02000000
#endif

#define FORMAT_VERSION	"hugeverify 1"

#define EXIT_SAME	0
#define EXIT_DIFFERS	1
#define EXIT_FAILED	1
#define EXIT_USAGE	2

/* Huge files are mapped piece by piece; a piece is so long, or one page. */
#define WINDOW_SIZE	0x1000000000ULL
/* What st_blocks counts. */
#define STAT_BLOCK	512
#define CHUNK_SIZE	0x100000UL
#define PATH_SIZE	4096
#define MAX_CGROUP_DEPTH 32
#define MAX_ITEMS	1024

#define PAGEMAP_PRESENT	0x8000000000000000ULL
#define PAGEMAP_FRAME	0x007fffffffffffffULL

#define NOT_KNOWN	(~0ULL)

/* What is known of a page, in the order of the format. */
enum field { FRAME, NODE, FLAGS, HASH, NR_FIELDS };

static const char * const field_names[NR_FIELDS] = {
	"frame", "node", "flags", "hash",
};

/* What --ignore can name; the fields come first. */
enum aspect { PAGES = NR_FIELDS, SIZE, FILES, POOL, CGROUP, NR_ASPECTS };

static const char * const aspect_names[NR_ASPECTS] = {
	"frame", "node", "flags", "hash", "pages", "size", "files", "pool",
	"cgroup",
};

struct page {
	uint64_t index;
	/* NOT_KNOWN means what it says; has_hash, as a hash can be anything. */
	uint64_t fields[NR_FIELDS];
	bool has_hash;
};

struct file {
	const char *label;
	uint64_t page_size;
	uint64_t size;
	uint64_t nr;
	struct page *pages;
	bool found;
};

struct counter {
	const char *name;
	uint64_t value;
	bool found;
};

struct record {
	const char *path;
	struct file *files;
	size_t nr_files;
	struct counter *counters;
	size_t nr_counters;
};

struct buffer {
	char *data;
	size_t len;
	size_t size;
};

static int kpageflags_fd = -1;

static const char usage_text[] =
	"usage: hugeverify record [--out FILE] [[--label NAME] ITEM]...\n"
	"       hugeverify compare [--json] [--ignore WHAT[,WHAT...]] BEFORE AFTER\n"
	"       hugeverify --help\n"
	"\n"
	"Tells whether huge pages were handed over as they were, say by a live\n"
	"update: record before it, record after it, compare.\n"
	"\n"
	"record writes where the huge pages of the ITEMs are and what is in them,\n"
	"and the counters of all pools and hugetlb cgroups. No hole is filled. The\n"
	"contents must not change meanwhile: stop who writes to them. An ITEM is\n"
	"  PATH         a file on hugetlbfs, or a descriptor: /proc/PID/fd/N\n"
	"  --fd N       a descriptor that hugeverify was started with\n"
	"  --pid PID    all mappings of huge pages of a process\n"
	"Options:\n"
	"  --label NAME what the next ITEM is called, by which compare matches it;\n"
	"               unless told, its path, fd:N or pid:PID\n"
	"  --out FILE   where to write to, a new file, instead of the output\n"
	"  --shmem      take files of tmpfs as well, with base pages\n"
	"Frames and flags take CAP_SYS_ADMIN; without it they are not recorded.\n"
	"\n"
	"compare prints a line for each difference, and a summary. Options:\n"
	"  --json       prints one JSON object instead\n"
	"  --ignore     what not to compare: frame, node, flags, hash, pages (there,\n"
	"               or a hole), size, files (missing ones), pool, cgroup\n"
	"Page flags that come and go with use (locked, referenced, lru, active,\n"
	"writeback, reclaim, mmap, idle) are recorded, but not compared.\n"
	"\n"
	"Exit status: 0 recorded, or nothing differs; 1 something differs, or\n"
	"recording failed; 2 bad usage, or a file to compare is not a record.\n"
	"\n"
	"The format is text, one thing a line:\n"
	"  " FORMAT_VERSION "     the version of the format\n"
	"  counter NAME VALUE\n"
	"               pool/SIZEkB/all/FILE, pool/SIZEkB/nodeN/FILE from sysfs, or\n"
	"               cgroup/PATH/FILE where that is not 0\n"
	"  file LABEL page_size=BYTES size=BYTES pages=N name=NAME\n"
	"  page INDEX frame=HEX node=N flags=HEX hash=HEX\n"
	"               one of the N pages of the file above, counted from its\n"
	"               beginning; the others are holes. Flags as in\n"
	"               /proc/kpageflags, XXH64 (seed 0) of the contents, - for\n"
	"               what could not be told\n"
	"  end          a file without it is incomplete\n";

#define fail(status, fmt, ...) do {					\
	fprintf(stderr, "hugeverify: " fmt "\n", ##__VA_ARGS__);	\
	exit(status);							\
} while (0)

static void *resize(void *old, size_t size)
{
	void *data = realloc(old, size);

	if (!data)
		fail(EXIT_FAILED, "out of memory");

	return data;
}

/* Room for one element more in an array that doubles as it grows. */
static void *grow(void *array, size_t nr, size_t size)
{
	if (nr & (nr - 1))
		return array;

	return resize(array, (nr ? 2 * nr : 1) * size);
}

static char *copy_string(const char *from, size_t len)
{
	char *to = resize(NULL, len + 1);

	memcpy(to, from, len);
	to[len] = 0;

	return to;
}

static void reserve(struct buffer *buf, size_t len)
{
	size_t size = buf->size ? buf->size : 65536;

	if (buf->len + len < buf->size)
		return;
	while (size <= buf->len + len)
		size *= 2;
	buf->data = resize(buf->data, size);
	buf->size = size;
}

static void append(struct buffer *buf, const char *fmt, ...)
{
	va_list args;
	int len;

	reserve(buf, PATH_SIZE);
	va_start(args, fmt);
	len = vsnprintf(buf->data + buf->len, buf->size - buf->len, fmt, args);
	va_end(args);
	if ((size_t)len >= buf->size - buf->len) {
		reserve(buf, len);
		va_start(args, fmt);
		vsnprintf(buf->data + buf->len, buf->size - buf->len, fmt,
			  args);
		va_end(args);
	}
	buf->len += len;
}

static void append_buffer(struct buffer *to, struct buffer *from)
{
	reserve(to, from->len);
	if (from->len)
		memcpy(to->data + to->len, from->data, from->len);
	to->len += from->len;
	free(from->data);
}

static bool write_all(int fd, const struct buffer *buf)
{
	size_t done = 0;

	while (done < buf->len) {
		ssize_t ret = write(fd, buf->data + done, buf->len - done);

		if (ret < 0 && errno == EINTR)
			continue;
		if (ret <= 0)
			return false;
		done += ret;
	}

	return true;
}

/* All of a file, ended by a 0. Return: false if it cannot be read. */
static bool read_all(const char *path, struct buffer *buf)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t ret;

	memset(buf, 0, sizeof(*buf));
	if (fd < 0)
		return false;
	do {
		reserve(buf, CHUNK_SIZE / 8);
		ret = read(fd, buf->data + buf->len,
			   buf->size - buf->len - 1);
		if (ret > 0)
			buf->len += ret;
	} while (ret > 0 || (ret < 0 && errno == EINTR));
	buf->data[buf->len] = 0;
	close(fd);

	return !ret;
}

/* The whole of @text is a number. */
static bool parse_number(const char *text, int base, uint64_t *value)
{
	uint64_t number = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		unsigned int digit;

		if (*text >= '0' && *text <= '9')
			digit = *text - '0';
		else if (*text >= 'a' && *text <= 'f')
			digit = *text - 'a' + 10;
		else
			return false;
		if (digit >= (unsigned int)base ||
		    number > (NOT_KNOWN - digit) / base)
			return false;
		number = number * base + digit;
	}
	*value = number;

	return true;
}

static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || (c && strchr("/:._+-,()@", c));
}

/* As labels and names are written. The caller may forget about the memory. */
static char *escape(const char *text)
{
	char *to = resize(NULL, 3 * strlen(text) + 1), *end = to;

	for (; *text; text++) {
		if (is_plain(*text))
			*end++ = *text;
		else
			end += snprintf(end, 4, "%%%02x",
					(unsigned char)*text);
	}
	*end = 0;

	return to;
}

static ssize_t read_at(int fd, void *buf, size_t count, uint64_t offset)
{
	if (lseek(fd, offset, SEEK_SET) < 0)
		return -1;

	return read(fd, buf, count);
}

/*
 * XXH64 by Yann Collet, for whole stripes of 32 bytes: pages have no rest.
 */

#define PRIME_1	0x9e3779b185ebca87ULL
#define PRIME_2	0xc2b2ae3d27d4eb4fULL
#define PRIME_3	0x165667b19e3779f9ULL
#define PRIME_4	0x85ebca77c2b2ae63ULL

struct hash {
	uint64_t lanes[4];
	uint64_t len;
};

static uint64_t rotate(uint64_t value, int bits)
{
	return value << bits | value >> (64 - bits);
}

static uint64_t hash_round(uint64_t lane, uint64_t word)
{
	return rotate(lane + word * PRIME_2, 31) * PRIME_1;
}

static void hash_init(struct hash *hash)
{
	hash->lanes[0] = PRIME_1 + PRIME_2;
	hash->lanes[1] = PRIME_2;
	hash->lanes[2] = 0;
	hash->lanes[3] = -PRIME_1;
	hash->len = 0;
}

static void hash_update(struct hash *hash, const void *data, size_t len)
{
	uint64_t a = hash->lanes[0], b = hash->lanes[1];
	uint64_t c = hash->lanes[2], d = hash->lanes[3];
	const unsigned char *from = data;
	uint64_t words[4];
	size_t i;
	int n;

	for (i = 0; i < len; i += sizeof(words)) {
		memcpy(words, from + i, sizeof(words));
		if (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__)
			for (n = 0; n < 4; n++)
				words[n] = __builtin_bswap64(words[n]);
		a = hash_round(a, words[0]);
		b = hash_round(b, words[1]);
		c = hash_round(c, words[2]);
		d = hash_round(d, words[3]);
	}
	hash->lanes[0] = a;
	hash->lanes[1] = b;
	hash->lanes[2] = c;
	hash->lanes[3] = d;
	hash->len += len;
}

static uint64_t hash_end(const struct hash *hash)
{
	const uint64_t *lanes = hash->lanes;
	uint64_t value;
	int i;

	value = rotate(lanes[0], 1) + rotate(lanes[1], 7) +
		rotate(lanes[2], 12) + rotate(lanes[3], 18);
	for (i = 0; i < 4; i++)
		value = (value ^ hash_round(0, lanes[i])) * PRIME_1 + PRIME_4;
	value += hash->len;
	value = (value ^ value >> 33) * PRIME_2;
	value = (value ^ value >> 29) * PRIME_3;

	return value ^ value >> 32;
}

/*
 * Counters
 */

struct entries {
	int fd;
	size_t pos;
	size_t len;
	char data[4096];
};

/* As getdents64() has it. */
struct entry {
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
};

static bool open_folder(struct entries *entries, const char *path)
{
	entries->pos = 0;
	entries->len = 0;
	entries->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return entries->fd >= 0;
}

/* The next name; NULL, and closed, after the last one. */
static const char *next_entry(struct entries *entries, bool *is_folder)
{
	const struct entry *entry;

	if (entries->pos == entries->len) {
		long ret = syscall(__NR_getdents64, entries->fd, entries->data,
				   sizeof(entries->data));

		if (ret <= 0) {
			close(entries->fd);
			return NULL;
		}
		entries->pos = 0;
		entries->len = ret;
	}
	entry = (const struct entry *)(entries->data + entries->pos);
	entries->pos += entry->reclen;
	/* DT_DIR, for which nolibc and glibc have different headers. */
	if (is_folder)
		*is_folder = entry->type == 4;

	return entry->name;
}

static bool starts_with(const char *text, const char *start)
{
	return !strncmp(text, start, strlen(start));
}

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), want = strlen(end);

	return len >= want && !strcmp(text + len - want, end);
}

static bool read_counter(const char *path, uint64_t *value)
{
	char text[32];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return false;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return false;
	text[len] = 0;
	if (text[len - 1] == '\n')
		text[len - 1] = 0;

	return parse_number(text, 10, value);
}

/* The pools of all sizes, of a node or of all of them. */
static void record_pools(struct buffer *out, const char *folder,
			 const char *node)
{
	static const char * const names[] = {
		"nr_hugepages", "free_hugepages", "resv_hugepages",
		"surplus_hugepages", "nr_overcommit_hugepages",
	};
	const char *prefix = "hugepages-", *size;
	struct entries entries;
	char path[PATH_SIZE];
	uint64_t value;
	unsigned int i;

	if (!open_folder(&entries, folder))
		return;
	while ((size = next_entry(&entries, NULL))) {
		if (!starts_with(size, prefix))
			continue;
		for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
			snprintf(path, sizeof(path), "%s/%s/%s", folder, size,
				 names[i]);
			if (read_counter(path, &value))
				append(out, "counter pool/%s/%s/%s %llu\n",
				       size + strlen(prefix), node, names[i],
				       (unsigned long long)value);
		}
	}
}

static void record_nodes(struct buffer *out)
{
	const char *folder = "/sys/devices/system/node", *node;
	struct entries entries;
	char path[PATH_SIZE];

	if (!open_folder(&entries, folder))
		return;
	while ((node = next_entry(&entries, NULL))) {
		if (!starts_with(node, "node"))
			continue;
		snprintf(path, sizeof(path), "%s/%s/hugepages", folder, node);
		record_pools(out, path, node);
	}
}

/* @path, a buffer of PATH_SIZE, names a cgroup; @root of its bytes the mount. */
static void record_cgroup(struct buffer *out, char *path, size_t root,
			  int depth)
{
	size_t len = strlen(path);
	struct entries entries;
	const char *name;
	bool is_folder;
	uint64_t value;

	if (!open_folder(&entries, path))
		return;
	while ((name = next_entry(&entries, &is_folder))) {
		if (name[0] == '.' || len + strlen(name) + 2 > PATH_SIZE)
			continue;
		snprintf(path + len, PATH_SIZE - len, "/%s", name);
		if (is_folder && depth < MAX_CGROUP_DEPTH)
			record_cgroup(out, path, root, depth + 1);
		if (!is_folder && starts_with(name, "hugetlb.") &&
		    (ends_with(name, ".current") ||
		     ends_with(name, ".usage_in_bytes")) &&
		    read_counter(path, &value) && value) {
			char *escaped = escape(path + root);

			append(out, "counter cgroup%s %llu\n", escaped,
			       (unsigned long long)value);
			free(escaped);
		}
		path[len] = 0;
	}
}

/* Cut @line after its next word. Return: the word, NULL if there is none. */
static char *next_word(char **line)
{
	char *word = *line, *end;

	if (!word || !*word)
		return NULL;
	end = strchr(word, ' ');
	if (end)
		*end++ = 0;
	*line = end;

	return word;
}

/* Cut @text after its next line. Return: the line, NULL after the last one. */
static char *next_line(char **text)
{
	char *line = *text, *end;

	if (!*line)
		return NULL;
	end = strchr(line, '\n');
	if (end)
		*end++ = 0;
	else
		end = line + strlen(line);
	*text = end;

	return line;
}

/* A field of /proc/mounts, where white space and backslashes are like "\040". */
static void unescape_mount(char *text)
{
	char *to = text;

	while (*text) {
		if (text[0] == '\\' && text[1] && text[2] && text[3]) {
			*to++ = (text[1] - '0') << 6 | (text[2] - '0') << 3 |
				(text[3] - '0');
			text += 4;
		} else {
			*to++ = *text++;
		}
	}
	*to = 0;
}

/*
 * The groups of a hierarchy are recorded once, where it was mounted first: it may
 * be mounted again elsewhere, and no counter is to be there twice.
 */
static void record_cgroups(struct buffer *out)
{
	char path[PATH_SIZE], *text, *line;
	uint64_t *devices = NULL;
	struct buffer mounts;
	size_t nr = 0, i;

	if (!read_all("/proc/self/mounts", &mounts))
		return;
	text = mounts.data;
	while ((line = next_line(&text))) {
		char *folder, *type, *options;
		struct stat st;

		next_word(&line);
		folder = next_word(&line);
		type = next_word(&line);
		options = next_word(&line);
		if (!options)
			continue;
		if (strcmp(type, "cgroup2") &&
		    (strcmp(type, "cgroup") || !strstr(options, "hugetlb")))
			continue;
		unescape_mount(folder);
		if (stat(folder, &st))
			continue;
		for (i = 0; i < nr && devices[i] != (uint64_t)st.st_dev; i++)
			;
		if (i < nr)
			continue;
		devices = grow(devices, nr, sizeof(*devices));
		devices[nr++] = st.st_dev;
		snprintf(path, sizeof(path), "%s", folder);
		record_cgroup(out, path, strlen(path), 0);
	}
	free(devices);
	free(mounts.data);
}

/*
 * Files
 */

/* One page is known; @frame is 0 if it is not for us to know. */
static void record_page(struct buffer *out, uint64_t index, uint64_t frame,
			int node, const struct hash *hash)
{
	uint64_t flags;

	append(out, "page %llu", (unsigned long long)index);
	if (frame)
		append(out, " frame=%llx", (unsigned long long)frame);
	else
		append(out, " frame=-");
	if (node >= 0)
		append(out, " node=%d", node);
	else
		append(out, " node=-");
	if (frame && kpageflags_fd >= 0 &&
	    read_at(kpageflags_fd, &flags, sizeof(flags),
		    frame * sizeof(flags)) == sizeof(flags))
		append(out, " flags=%llx", (unsigned long long)flags);
	else
		append(out, " flags=-");
	if (hash)
		append(out, " hash=%llx\n", (unsigned long long)hash_end(hash));
	else
		append(out, " hash=-\n");
}

static void record_file_line(struct buffer *out, const char *label,
			     uint64_t page_size, uint64_t size, uint64_t nr,
			     const char *name)
{
	char *escaped_label = escape(label), *escaped_name = escape(name);

	append(out, "file %s page_size=%llu size=%llu pages=%llu name=%s\n",
	       escaped_label, (unsigned long long)page_size,
	       (unsigned long long)size, (unsigned long long)nr, escaped_name);
	free(escaped_label);
	free(escaped_name);
}

/* The frame behind an address, 0 if there is none or it is hidden. */
static uint64_t frame_at(int pagemap, uint64_t addr, bool *is_present)
{
	uint64_t entry;

	*is_present = false;
	if (read_at(pagemap, &entry, sizeof(entry),
		    addr / getpagesize() * sizeof(entry)) != sizeof(entry))
		return 0;
	*is_present = entry & PAGEMAP_PRESENT;

	return *is_present ? entry & PAGEMAP_FRAME : 0;
}

/* The node behind an address, -1 if it cannot be told. 0 is this process. */
static int node_at(int pid, uint64_t addr)
{
	void *page = (void *)(uintptr_t)addr;
	int node = -1;

	if (syscall(__NR_move_pages, pid, 1UL, &page, NULL, &node, 0))
		return -1;

	return node;
}

/* Faults into holes of this range fail. Return: -1 if that cannot be had. */
static int guard_holes(void *addr, uint64_t len)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_SIGBUS,
	};
	struct uffdio_register range = {
		.range = { .start = (uintptr_t)addr, .len = len },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd < 0)
		return -1;
	if (ioctl(fd, UFFDIO_API, &api) ||
	    ioctl(fd, UFFDIO_REGISTER, &range)) {
		close(fd);
		return -1;
	}

	return fd;
}

/* The page is not all zeroes. Reading a hole does not fill it. */
static bool has_data(int fd, uint64_t offset, uint64_t page_size)
{
	static uint64_t words[8192];
	uint64_t done = 0;
	size_t i;

	while (done < page_size) {
		uint64_t left = page_size - done;
		ssize_t ret = read_at(fd, words, left < sizeof(words) ? left :
				      sizeof(words), offset + done);

		if (ret <= 0)
			return false;
		memset((char *)words + ret, 0, -ret & 7);
		for (i = 0; i < (size_t)(ret + 7) / 8; i++)
			if (words[i])
				return true;
		done += ret;
	}

	return false;
}

/*
 * System calls that nolibc has not.
 */

static int sys_fstatfs(int fd, struct statfs *fs)
{
#ifdef NOLIBC
	return syscall(__NR_fstatfs, fd, fs);
#else
	return fstatfs(fd, fs);
#endif
}

static int sys_madvise(void *addr, size_t len, int advice)
{
	return syscall(__NR_madvise, addr, len, advice);
}

/* Map the page if it is there. Return: 0, or an error number. */
static int populate(void *addr, uint64_t page_size)
{
	while (sys_madvise(addr, page_size, MADV_POPULATE_READ))
		if (errno != EAGAIN && errno != EINTR)
			return errno;

	return 0;
}

struct source {
	const char *label;
	int fd;
	int pagemap;
	uint64_t page_size;
	uint64_t size;
	/* How many pages there are, and how many were found. */
	uint64_t nr;
	uint64_t found;
};

/* @guarded: a fault into a hole fails. */
static void record_file_page(struct buffer *out, struct source *source,
			     uint64_t index, char *addr, bool guarded)
{
	uint64_t page_size = source->page_size;
	bool all = source->nr * page_size >= source->size;
	bool is_present;
	struct hash hash;
	uint64_t frame;
	int err, node;

	if (!guarded && !all &&
	    !has_data(source->fd, index * page_size, page_size))
		return;
	err = populate(addr, page_size);
	if (err == EFAULT)
		return;
	if (err == EHWPOISON) {
		source->found++;
		record_page(out, index, 0, -1, NULL);
		return;
	}
	if (err)
		fail(EXIT_FAILED, "%s: mapping page %llu: %s", source->label,
		     (unsigned long long)index, strerror(err));
	hash_init(&hash);
	hash_update(&hash, addr, page_size);
	frame = frame_at(source->pagemap, (uintptr_t)addr, &is_present);
	node = node_at(0, (uintptr_t)addr);
	/* So that the flags are without what this mapping adds. */
	sys_madvise(addr, page_size, MADV_DONTNEED);
	source->found++;
	record_page(out, index, frame, node, &hash);
}

static void record_pages(struct buffer *out, struct source *source)
{
	uint64_t page_size = source->page_size, start = 0, window, pos, len;

	window = page_size > WINDOW_SIZE ? page_size : WINDOW_SIZE;
	while (start < source->size && source->found < source->nr) {
		char *addr;
		int guard;

		len = source->size - start < window ? source->size - start :
						      window;
		len = (len + page_size - 1) / page_size * page_size;
		addr = mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_NORESERVE,
			    source->fd, start);
		if (addr == MAP_FAILED)
			fail(EXIT_FAILED, "%s: mmap: %s", source->label,
			     strerror(errno));
		guard = guard_holes(addr, len);
		for (pos = 0; pos < len && source->found < source->nr;
		     pos += page_size)
			record_file_page(out, source,
					 (start + pos) / page_size, addr + pos,
					 guard >= 0);
		munmap(addr, len);
		if (guard >= 0)
			close(guard);
		start += len;
	}
}

static void record_file(struct buffer *out, const char *label, int fd,
			bool shmem)
{
	struct source source = { .label = label };
	char path[64], name[PATH_SIZE] = "";
	struct buffer pages = {};
	struct stat st, after;
	struct statfs fs;
	ssize_t len;

	if (fstat(fd, &st) || sys_fstatfs(fd, &fs))
		fail(EXIT_FAILED, "%s: %s", label, strerror(errno));
	if ((uint32_t)fs.f_type == HUGETLBFS_MAGIC)
		source.page_size = fs.f_bsize;
	else if (shmem && (uint32_t)fs.f_type == TMPFS_MAGIC)
		source.page_size = getpagesize();
	if (!source.page_size || !S_ISREG(st.st_mode))
		fail(EXIT_USAGE, "%s is not a file with huge pages; name a file on hugetlbfs%s",
		     label, shmem ? " or tmpfs" : "");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	/* Opened anew: the position of this one is its owner's. */
	source.fd = open(path, O_RDONLY | O_CLOEXEC);
	source.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (source.fd < 0 || source.pagemap < 0)
		fail(EXIT_FAILED, "%s: opening %s: %s", label,
		     source.fd < 0 ? path : "/proc/self/pagemap",
		     strerror(errno));
	source.size = st.st_size;
	source.nr = (uint64_t)st.st_blocks * STAT_BLOCK / source.page_size;
	record_pages(&pages, &source);
	if (fstat(fd, &after))
		fail(EXIT_FAILED, "%s: %s", label, strerror(errno));
	if (after.st_blocks != st.st_blocks || after.st_size != st.st_size)
		fail(EXIT_FAILED, "%s was changed meanwhile; stop who writes to it",
		     label);
	if (source.found != source.nr)
		fail(EXIT_FAILED, "%s: found %llu of %llu pages; %s", label,
		     (unsigned long long)source.found,
		     (unsigned long long)source.nr,
		     "telling zeroes from holes takes userfaultfd()");
	close(source.fd);
	close(source.pagemap);

	len = syscall(__NR_readlinkat, AT_FDCWD, path, name, sizeof(name) - 1);
	name[len > 0 ? len : 0] = 0;
	record_file_line(out, label, source.page_size, source.size,
			 source.found, *name ? name : "-");
	append_buffer(out, &pages);
}

/*
 * Processes
 */

struct mapping {
	uint64_t start;
	uint64_t end;
	uint64_t offset;
	uint64_t page_size;
	const char *name;
};

/* A line of smaps like "7f0000000000-7f0000200000 rw-s 00000000 00:11 5 NAME". */
static bool parse_mapping(char *line, struct mapping *mapping)
{
	char *range = next_word(&line), *dash;
	const char *offset;
	int i;

	dash = range ? strchr(range, '-') : NULL;
	if (!dash)
		return false;
	*dash++ = 0;
	next_word(&line);
	offset = next_word(&line);
	if (!offset || !parse_number(range, 16, &mapping->start) ||
	    !parse_number(dash, 16, &mapping->end) ||
	    !parse_number(offset, 16, &mapping->offset))
		return false;
	for (i = 0; i < 2; i++)
		next_word(&line);
	while (line && *line == ' ')
		line++;
	mapping->name = line && *line ? line : "-";
	mapping->page_size = 0;

	return true;
}

static bool hash_memory(int mem, uint64_t addr, uint64_t len, struct hash *hash)
{
	static char *chunk;
	uint64_t done = 0;

	if (!chunk)
		chunk = resize(NULL, CHUNK_SIZE);
	hash_init(hash);
	while (done < len) {
		size_t want = len - done < CHUNK_SIZE ? len - done : CHUNK_SIZE;

		if (read_at(mem, chunk, want, addr + done) != (ssize_t)want)
			return false;
		hash_update(hash, chunk, want);
		done += want;
	}

	return true;
}

static void record_mapping(struct buffer *out, const char *label, int pid,
			   int pagemap, int mem, const struct mapping *mapping)
{
	uint64_t addr, found = 0;
	struct buffer pages = {};

	for (addr = mapping->start; addr < mapping->end;
	     addr += mapping->page_size) {
		struct hash hash;
		bool is_present;
		uint64_t frame = frame_at(pagemap, addr, &is_present);
		bool has_hash;

		if (!is_present)
			continue;
		/* It is in the page tables: reading is no fault into a hole. */
		has_hash = hash_memory(mem, addr, mapping->page_size, &hash);
		record_page(&pages, (mapping->offset + addr - mapping->start) /
			    mapping->page_size, frame, node_at(pid, addr),
			    has_hash ? &hash : NULL);
		found++;
	}
	record_file_line(out, label, mapping->page_size,
			 mapping->end - mapping->start, found, mapping->name);
	append_buffer(out, &pages);
}

static int open_of_process(int pid, const char *name, char *path)
{
	int fd;

	snprintf(path, PATH_SIZE, "/proc/%d/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail(EXIT_FAILED, "%s: %s", path, strerror(errno));

	return fd;
}

static void record_process(struct buffer *out, const char *label, int pid)
{
	char path[PATH_SIZE], name[PATH_SIZE + 32], *text, *line;
	struct mapping mapping = {};
	struct buffer smaps;
	uint64_t value;
	int pagemap, mem;
	int nr = 0;

	pagemap = open_of_process(pid, "pagemap", path);
	mem = open_of_process(pid, "mem", path);
	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	if (!read_all(path, &smaps))
		fail(EXIT_FAILED, "%s: %s", path, strerror(errno));
	text = smaps.data;
	while ((line = next_line(&text))) {
		if (starts_with(line, "KernelPageSize:")) {
			line += strlen("KernelPageSize:");
			while (*line == ' ')
				line++;
			if (parse_number(next_word(&line), 10, &value))
				mapping.page_size = value << 10;
		} else if (starts_with(line, "VmFlags:")) {
			if (!strstr(line, " ht") || !mapping.page_size)
				continue;
			snprintf(name, sizeof(name), "%s/%d", label, nr++);
			record_mapping(out, name, pid, pagemap, mem, &mapping);
		} else if (*line < 'A' || *line > 'Z') {
			parse_mapping(line, &mapping);
		}
	}
	free(smaps.data);
	close(pagemap);
	close(mem);
}

/*
 * record
 */

enum item_type { ITEM_PATH, ITEM_FD, ITEM_PID };

struct item {
	enum item_type type;
	const char *label;
	const char *path;
	int number;
};

static void check_label(const struct item *items, int nr, const char *label)
{
	int i;

	if (!*label || strlen(label) >= PATH_SIZE)
		fail(EXIT_USAGE, "a label must have 1 to %d bytes",
		     PATH_SIZE - 1);
	for (i = 0; i < nr; i++)
		if (!strcmp(items[i].label, label))
			fail(EXIT_USAGE, "two items are called %s; tell them apart with --label",
			     label);
}

static void record_item(struct buffer *out, const struct item *item, bool shmem)
{
	int fd = item->number;

	if (item->type == ITEM_PID) {
		record_process(out, item->label, item->number);
		return;
	}
	if (item->type == ITEM_PATH) {
		/* Opening a FIFO is not to wait. */
		fd = open(item->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			fail(EXIT_FAILED, "%s: %s", item->path,
			     strerror(errno));
	}
	record_file(out, item->label, fd, shmem);
	if (item->type == ITEM_PATH)
		close(fd);
}

static void write_new_file(const char *path, const struct buffer *buf)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	int err;

	if (fd < 0 && errno == EEXIST)
		fail(EXIT_USAGE, "%s exists; choose another name or remove it",
		     path);
	if (fd < 0)
		fail(EXIT_FAILED, "%s: %s", path, strerror(errno));
	err = write_all(fd, buf) ? 0 : errno;
	if (close(fd) && !err)
		err = errno;
	if (err) {
		unlink(path);
		fail(EXIT_FAILED, "%s: %s", path, strerror(err));
	}
}

/* The option with its value in this word or the next. */
static bool is_option(char **argv, int *pos, const char *name,
		      const char **value)
{
	const char *word = argv[*pos];

	if (!starts_with(word, name))
		return false;
	word += strlen(name);
	if (*word == '=') {
		*value = word + 1;
		return true;
	}
	if (*word)
		return false;
	if (!argv[*pos + 1])
		fail(EXIT_USAGE, "%s lacks its value; see --help", name);
	*value = argv[++*pos];

	return true;
}

static int parse_int(const char *option, const char *text)
{
	uint64_t value;

	if (!parse_number(text, 10, &value) || value > 0x7fffffff)
		fail(EXIT_USAGE, "%s %s is no number; see --help", option,
		     text);

	return value;
}

static int record(char **argv)
{
	static struct item items[MAX_ITEMS];
	const char *out_path = NULL, *label = NULL, *value;
	bool only_paths = false, shmem = false;
	struct buffer out = {};
	int i, nr = 0;

	for (i = 0; argv[i]; i++) {
		struct item item = {};
		char text[32];

		if (only_paths || argv[i][0] != '-') {
			item.path = argv[i];
		} else if (!strcmp(argv[i], "--")) {
			only_paths = true;
			continue;
		} else if (!strcmp(argv[i], "--shmem")) {
			shmem = true;
			continue;
		} else if (is_option(argv, &i, "--out", &value)) {
			out_path = value;
			continue;
		} else if (is_option(argv, &i, "--label", &value)) {
			label = value;
			continue;
		} else if (is_option(argv, &i, "--fd", &value)) {
			item.type = ITEM_FD;
			item.number = parse_int("--fd", value);
			snprintf(text, sizeof(text), "fd:%d", item.number);
		} else if (is_option(argv, &i, "--pid", &value)) {
			item.type = ITEM_PID;
			item.number = parse_int("--pid", value);
			snprintf(text, sizeof(text), "pid:%d", item.number);
		} else {
			fail(EXIT_USAGE, "unknown option %s; see --help",
			     argv[i]);
		}
		if (nr == MAX_ITEMS)
			fail(EXIT_USAGE, "more than %d items", MAX_ITEMS);
		if (label)
			item.label = label;
		else if (item.type == ITEM_PATH)
			item.label = item.path;
		else
			item.label = copy_string(text, strlen(text));
		check_label(items, nr, item.label);
		items[nr++] = item;
		label = NULL;
	}
	if (label)
		fail(EXIT_USAGE, "--label %s is followed by nothing to be called so",
		     label);

	kpageflags_fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	append(&out, FORMAT_VERSION "\n");
	record_pools(&out, "/sys/kernel/mm/hugepages", "all");
	record_nodes(&out);
	record_cgroups(&out);
	for (i = 0; i < nr; i++)
		record_item(&out, &items[i], shmem);
	append(&out, "end\n");
	if (out_path)
		write_new_file(out_path, &out);
	else if (!write_all(STDOUT_FILENO, &out))
		fail(EXIT_FAILED, "writing: %s", strerror(errno));

	return EXIT_SAME;
}

/*
 * compare
 */

/* The value of a word like "name=VALUE". */
static const char *named(const char *word, const char *name)
{
	size_t len = strlen(name);

	if (!word || strncmp(word, name, len) || word[len] != '=')
		return NULL;

	return word + len + 1;
}

static bool parse_named(char **line, const char *name, int base,
			uint64_t *value)
{
	const char *text = named(next_word(line), name);

	return text && parse_number(text, base, value);
}

static bool is_escaped(const char *text)
{
	if (!text || !*text)
		return false;
	for (; *text; text++)
		if (*text != '%' && !is_plain(*text))
			return false;

	return true;
}

static const char *parse_counter(struct record *record, char *line)
{
	struct counter counter = {};
	const char *value;
	size_t i;

	counter.name = next_word(&line);
	value = next_word(&line);
	if (!is_escaped(counter.name) || !value || line ||
	    !parse_number(value, 10, &counter.value))
		return "not a counter";
	for (i = 0; i < record->nr_counters; i++)
		if (!strcmp(record->counters[i].name, counter.name))
			return "this counter was there already";
	record->counters = grow(record->counters, record->nr_counters,
				sizeof(counter));
	record->counters[record->nr_counters++] = counter;

	return NULL;
}

static const char *parse_file(struct record *record, char *line,
			      uint64_t *nr_pages)
{
	struct file file = {};
	size_t i;

	file.label = next_word(&line);
	if (!is_escaped(file.label) ||
	    !parse_named(&line, "page_size", 10, &file.page_size) ||
	    !parse_named(&line, "size", 10, &file.size) ||
	    !parse_named(&line, "pages", 10, nr_pages) ||
	    !is_escaped(named(next_word(&line), "name")) || line ||
	    !file.page_size)
		return "not a file";
	for (i = 0; i < record->nr_files; i++)
		if (!strcmp(record->files[i].label, file.label))
			return "a file with this label was there already";
	record->files = grow(record->files, record->nr_files, sizeof(file));
	record->files[record->nr_files++] = file;

	return NULL;
}

static const char *parse_page(struct file *file, char *line)
{
	struct page page = {};
	const char *word = next_word(&line);
	int i;

	if (!word || !parse_number(word, 10, &page.index))
		return "not a page";
	for (i = 0; i < NR_FIELDS; i++) {
		word = named(next_word(&line), field_names[i]);
		if (!word)
			return "not a page";
		page.fields[i] = NOT_KNOWN;
		if (!strcmp(word, "-"))
			continue;
		if (!parse_number(word, i == NODE ? 10 : 16, &page.fields[i]))
			return "not a page";
		if (i == HASH)
			page.has_hash = true;
	}
	if (line)
		return "not a page";
	if (file->nr && file->pages[file->nr - 1].index >= page.index)
		return "the pages are not in order";
	file->pages = grow(file->pages, file->nr, sizeof(page));
	file->pages[file->nr++] = page;

	return NULL;
}

static void load(struct record *record, const char *path)
{
	unsigned long long number = 1;
	uint64_t pages_left = 0;
	const char *err = NULL;
	struct buffer buf;
	char *text, *line;
	bool ended = false;

	memset(record, 0, sizeof(*record));
	record->path = path;
	if (!read_all(path, &buf))
		fail(EXIT_USAGE, "%s: %s", path, strerror(errno));
	if (strlen(buf.data) != buf.len)
		fail(EXIT_USAGE, "%s is no record of hugeverify", path);
	text = buf.data;
	line = next_line(&text);
	if (!line || !starts_with(line, "hugeverify "))
		fail(EXIT_USAGE, "%s is no record of hugeverify", path);
	if (strcmp(line, FORMAT_VERSION))
		fail(EXIT_USAGE, "%s has another version of the format, %s; this program knows 1",
		     path, line + strlen("hugeverify "));
	while (!err && (line = next_line(&text))) {
		const char *type = next_word(&line);

		number++;
		if (ended)
			err = "there is something after the end";
		else if (!type)
			err = "an empty line";
		else if (pages_left && strcmp(type, "page"))
			err = "pages are missing before this line";
		else if (!strcmp(type, "page") && !pages_left)
			err = "a page too many";
		else if (!strcmp(type, "page"))
			err = parse_page(&record->files[record->nr_files - 1],
					 line);
		else if (!strcmp(type, "counter"))
			err = parse_counter(record, line);
		else if (!strcmp(type, "file"))
			err = parse_file(record, line, &pages_left);
		else if (!strcmp(type, "end") && !line)
			ended = true;
		else
			err = "not known";
		if (!err && !strcmp(type, "page"))
			pages_left--;
	}
	if (err)
		fail(EXIT_USAGE, "%s:%llu: %s", path, number, err);
	if (!ended)
		fail(EXIT_USAGE, "%s is incomplete: its end is missing", path);
}

struct report {
	struct buffer out;
	bool json;
	bool ignore[NR_ASPECTS];
	bool not_compared[NR_FIELDS];
	unsigned long long differences;
	unsigned long long files;
	unsigned long long pages;
};

/* @index is NOT_KNOWN for what is not about a page. */
static void differ(struct report *report, const char *kind, const char *name,
		   uint64_t index, const char *what, const char *before,
		   const char *after)
{
	struct buffer *out = &report->out;

	report->differences++;
	if (report->json) {
		append(out, "%s\n    {\"kind\": \"%s\", \"name\": \"%s\"",
		       report->differences > 1 ? "," : "", kind, name);
		if (index != NOT_KNOWN)
			append(out, ", \"page\": %llu",
			       (unsigned long long)index);
		append(out, ", \"what\": \"%s\", \"before\": \"%s\", \"after\": \"%s\"}",
		       what, before, after);
		return;
	}
	append(out, "%s", name);
	if (index != NOT_KNOWN)
		append(out, " page %llu", (unsigned long long)index);
	if (!strcmp(what, "presence") || !strcmp(what, "value"))
		what = "it";
	append(out, ": %s was %s, is %s\n", what, before, after);
}

static void differ_numbers(struct report *report, const char *kind,
			   const char *name, uint64_t index, const char *what,
			   const char *format, uint64_t before, uint64_t after)
{
	char texts[2][32];
	bool is_hex = !strcmp(format, "hex");

	snprintf(texts[0], sizeof(texts[0]), is_hex ? "0x%llx" : "%llu",
		 (unsigned long long)before);
	snprintf(texts[1], sizeof(texts[1]), is_hex ? "0x%llx" : "%llu",
		 (unsigned long long)after);
	differ(report, kind, name, index, what, texts[0], texts[1]);
}

/*
 * Flags that come and go with the use of a page are not compared, nor those
 * above 31, which only are for people who work on the kernel.
 */
static uint64_t lasting_flags(uint64_t flags)
{
	static const int passing[] = {
		KPF_LOCKED, KPF_REFERENCED, KPF_LRU, KPF_ACTIVE, KPF_WRITEBACK,
		KPF_RECLAIM, KPF_MMAP, KPF_IDLE,
	};
	unsigned int i;

	for (i = 0; i < sizeof(passing) / sizeof(*passing); i++)
		flags &= ~((uint64_t)1 << passing[i]);

	return (uint32_t)flags;
}

static const char *flags_text(char *text, size_t size, uint64_t flags)
{
	static const char * const names[32] = {
		[KPF_LOCKED] = "locked",
		[KPF_ERROR] = "error",
		[KPF_REFERENCED] = "referenced",
		[KPF_UPTODATE] = "uptodate",
		[KPF_DIRTY] = "dirty",
		[KPF_LRU] = "lru",
		[KPF_ACTIVE] = "active",
		[KPF_SLAB] = "slab",
		[KPF_WRITEBACK] = "writeback",
		[KPF_RECLAIM] = "reclaim",
		[KPF_BUDDY] = "buddy",
		[KPF_MMAP] = "mmap",
		[KPF_ANON] = "anon",
		[KPF_SWAPCACHE] = "swapcache",
		[KPF_SWAPBACKED] = "swapbacked",
		[KPF_COMPOUND_HEAD] = "compound_head",
		[KPF_COMPOUND_TAIL] = "compound_tail",
		[KPF_HUGE] = "huge",
		[KPF_UNEVICTABLE] = "unevictable",
		[KPF_HWPOISON] = "hwpoison",
		[KPF_NOPAGE] = "nopage",
		[KPF_KSM] = "ksm",
		[KPF_THP] = "thp",
		[KPF_OFFLINE] = "offline",
		[KPF_ZERO_PAGE] = "zero_page",
		[KPF_IDLE] = "idle",
		[KPF_PGTABLE] = "pgtable",
	};
	size_t len = 0;
	int i;

	text[0] = 0;
	for (i = 0; i < 64; i++) {
		if (!(flags >> i & 1))
			continue;
		if (len + 32 > size)
			break;
		if (len)
			text[len++] = '|';
		if (i < 32 && names[i])
			len += snprintf(text + len, size - len, "%s", names[i]);
		else
			len += snprintf(text + len, size - len, "bit%d", i);
	}

	return len ? text : "none";
}

static void compare_page(struct report *report, const char *label,
			 const struct page *before, const struct page *after)
{
	char texts[2][512];
	int i;

	report->pages++;
	for (i = 0; i < NR_FIELDS; i++) {
		uint64_t was = before->fields[i], is = after->fields[i];
		bool known = was != NOT_KNOWN && is != NOT_KNOWN;

		if (report->ignore[i])
			continue;
		if (i == HASH)
			known = before->has_hash && after->has_hash;
		if (!known) {
			report->not_compared[i] = true;
			continue;
		}
		if (i == FLAGS) {
			was = lasting_flags(was);
			is = lasting_flags(is);
		}
		if (was == is)
			continue;
		if (i == FLAGS)
			differ(report, "page", label, before->index,
			       field_names[i],
			       flags_text(texts[0], sizeof(texts[0]), was),
			       flags_text(texts[1], sizeof(texts[1]), is));
		else
			differ_numbers(report, "page", label, before->index,
				       field_names[i], i == NODE ? "" : "hex",
				       was, is);
	}
}

static void compare_file(struct report *report, const struct file *before,
			 const struct file *after)
{
	const char *label = before->label;
	uint64_t i = 0, j = 0;

	report->files++;
	if (before->page_size != after->page_size) {
		differ_numbers(report, "file", label, NOT_KNOWN, "page size",
			       "", before->page_size, after->page_size);
		/* Their indices are not the same thing. */
		return;
	}
	if (before->size != after->size && !report->ignore[SIZE])
		differ_numbers(report, "file", label, NOT_KNOWN, "size", "",
			       before->size, after->size);
	while (i < before->nr || j < after->nr) {
		const struct page *was = &before->pages[i];
		const struct page *is = &after->pages[j];

		if (j == after->nr ||
		    (i < before->nr && was->index < is->index)) {
			if (!report->ignore[PAGES])
				differ(report, "page", label, was->index,
				       "presence", "there", "a hole");
			i++;
		} else if (i == before->nr || is->index < was->index) {
			if (!report->ignore[PAGES])
				differ(report, "page", label, is->index,
				       "presence", "a hole", "there");
			j++;
		} else {
			compare_page(report, label, was, is);
			i++;
			j++;
		}
	}
}

static void compare_files(struct report *report, struct record *before,
			  struct record *after)
{
	size_t i, j;

	for (i = 0; i < before->nr_files; i++) {
		struct file *was = &before->files[i];

		for (j = 0; j < after->nr_files && !was->found; j++) {
			if (strcmp(was->label, after->files[j].label))
				continue;
			was->found = true;
			after->files[j].found = true;
			compare_file(report, was, &after->files[j]);
		}
		if (!was->found && !report->ignore[FILES])
			differ(report, "file", was->label, NOT_KNOWN,
			       "presence", "recorded", "missing");
	}
	for (j = 0; j < after->nr_files; j++)
		if (!after->files[j].found && !report->ignore[FILES])
			differ(report, "file", after->files[j].label, NOT_KNOWN,
			       "presence", "missing", "recorded");
}

static void compare_counter(struct report *report, const struct counter *before,
			    const struct counter *after)
{
	const char *name = before ? before->name : after->name;
	bool is_cgroup = starts_with(name, "cgroup/");
	char texts[2][32];
	uint64_t was = before ? before->value : 0;
	uint64_t is = after ? after->value : 0;

	if (report->ignore[is_cgroup ? CGROUP : POOL])
		return;
	/* Of cgroups, what is 0 was left out. */
	if (was == is && (is_cgroup || (before && after)))
		return;
	snprintf(texts[0], sizeof(texts[0]), "%llu", (unsigned long long)was);
	snprintf(texts[1], sizeof(texts[1]), "%llu", (unsigned long long)is);
	differ(report, is_cgroup ? "cgroup" : "pool", name, NOT_KNOWN, "value",
	       before || is_cgroup ? texts[0] : "missing",
	       after || is_cgroup ? texts[1] : "missing");
}

static void compare_counters(struct report *report, struct record *before,
			     struct record *after)
{
	size_t i, j;

	for (i = 0; i < before->nr_counters; i++) {
		struct counter *was = &before->counters[i], *is = NULL;

		for (j = 0; j < after->nr_counters; j++)
			if (!strcmp(was->name, after->counters[j].name))
				is = &after->counters[j];
		if (is)
			is->found = true;
		compare_counter(report, was, is);
	}
	for (j = 0; j < after->nr_counters; j++)
		if (!after->counters[j].found)
			compare_counter(report, NULL, &after->counters[j]);
}

static void summarise(struct report *report)
{
	struct buffer *out = &report->out;
	const char *comma = "";
	int i;

	if (report->json) {
		append(out, "%s],\n  \"differences\": %llu,\n  \"files\": %llu,\n",
		       report->differences ? "\n  " : "", report->differences,
		       report->files);
		append(out, "  \"pages\": %llu,\n  \"not_compared\": [",
		       report->pages);
	}
	for (i = 0; i < NR_FIELDS; i++) {
		if (!report->not_compared[i])
			continue;
		if (report->json)
			append(out, "%s\"%s\"", comma, field_names[i]);
		else
			append(out, "note: not compared everywhere, as it was not recorded: %s\n",
			       field_names[i]);
		comma = ", ";
	}
	if (report->json)
		append(out, "],\n  \"same\": %s\n}\n",
		       report->differences ? "false" : "true");
	else
		append(out, "%llu pages in %llu files compared: %llu differences\n",
		       report->pages, report->files, report->differences);
}

static void parse_ignore(struct report *report, const char *list)
{
	for (;;) {
		const char *comma = strchr(list, ',');
		size_t len = comma ? (size_t)(comma - list) : strlen(list);
		bool known = false;
		int i;

		for (i = 0; i < NR_ASPECTS; i++) {
			if (strlen(aspect_names[i]) != len ||
			    strncmp(aspect_names[i], list, len))
				continue;
			report->ignore[i] = true;
			known = true;
		}
		if (!known)
			fail(EXIT_USAGE, "--ignore: there is no '%s'; see --help",
			     copy_string(list, len));
		if (!comma)
			break;
		list = comma + 1;
	}
}

static int compare(char **argv)
{
	const char *paths[2], *value;
	struct record before, after;
	struct report report = {};
	bool only_paths = false;
	int i, nr = 0;

	for (i = 0; argv[i]; i++) {
		if (!only_paths && argv[i][0] == '-' && argv[i][1]) {
			if (!strcmp(argv[i], "--"))
				only_paths = true;
			else if (!strcmp(argv[i], "--json"))
				report.json = true;
			else if (is_option(argv, &i, "--ignore", &value))
				parse_ignore(&report, value);
			else
				fail(EXIT_USAGE, "unknown option %s; see --help",
				     argv[i]);
			continue;
		}
		if (nr == 2)
			fail(EXIT_USAGE, "name two records, before and after; see --help");
		paths[nr++] = argv[i];
	}
	if (nr != 2)
		fail(EXIT_USAGE, "name two records, before and after; see --help");

	load(&before, paths[0]);
	load(&after, paths[1]);
	if (report.json)
		append(&report.out, "{\n  \"version\": 1,\n  \"found\": [");
	compare_files(&report, &before, &after);
	compare_counters(&report, &before, &after);
	summarise(&report);
	if (!write_all(STDOUT_FILENO, &report.out))
		fail(EXIT_USAGE, "writing: %s", strerror(errno));

	return report.differences ? EXIT_DIFFERS : EXIT_SAME;
}

int main(int argc, char *argv[])
{
	if (argc >= 2 &&
	    (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		printf("%s", usage_text);
		return 0;
	}
	if (argc >= 2 && !strcmp(argv[1], "record"))
		return record(argv + 2);
	if (argc >= 2 && !strcmp(argv[1], "compare"))
		return compare(argv + 2);
	if (argc >= 2)
		fail(EXIT_USAGE, "there is no '%s'; see --help", argv[1]);
	fail(EXIT_USAGE, "what is to be done? see --help");
}
