/* The boot program of the stand-in for Windows' medium, and of the system that it installs.
 *
 * Reads \boot.cfg of the file system that it was started from:
 *     prompt=5              seconds in which a key must be pressed; without the line there is no question
 *     kernel=\vmlinuz       an EFI program: the Linux kernel with its stub
 *     options=...           the kernel's command line, to the end of the line
 *
 * Without a key it ends with an error, as Windows' does, upon which the firmware goes on to the next boot option; had it
 * ended with success, the firmware would show its own menu. */
#include "uefi.h"

enum { CONFIG_ROOM = 4096, PATH_ROOM = 2048, TICK = 10000, SECOND = 1000000 };

static struct system_table *system_table;
static char config[CONFIG_ROOM + 1];
static char16 options[CONFIG_ROOM + 1];
static uint8_t path[PATH_ROOM];

/* The compiler may turn loops into calls of these. */
void *memcpy(void *to, const void *from, size_t size) {
    for (size_t i = 0; i < size; i++) ((uint8_t *)to)[i] = ((const uint8_t *)from)[i];
    return to;
}
void *memset(void *to, int value, size_t size) {
    for (size_t i = 0; i < size; i++) ((uint8_t *)to)[i] = (uint8_t)value;
    return to;
}

static void print(const char16 *text) { system_table->out->output_string(system_table->out, text); }

static efi_status fail(const char16 *what, efi_status status) {
    char16 digits[17];
    for (int i = 0; i < 16; i++) digits[i] = u"0123456789abcdef"[(status >> (60 - 4 * i)) & 15];
    digits[16] = 0;
    print(u"\r\nThe loader cannot ");
    print(what);
    print(u": EFI status 0x");
    print(digits);
    print(u".\r\n");
    return status;
}

static efi_status read_config(efi_handle device) {
    static const struct efi_guid guid = FILE_SYSTEM_GUID;
    struct file_system *volume;
    struct file *root, *file;
    uint64_t size = CONFIG_ROOM;
    efi_status status = system_table->boot->handle_protocol(device, &guid, (void **)&volume);
    if (status == EFI_SUCCESS) status = volume->open_volume(volume, &root);
    if (status != EFI_SUCCESS) return status;
    status = root->open(root, &file, u"\\boot.cfg", FILE_MODE_READ, 0);
    if (status == EFI_SUCCESS) {
        status = file->read(file, &size, config);
        file->close(file);
    }
    root->close(root);
    config[status == EFI_SUCCESS ? size : 0] = 0;
    return status;
}

/* The value of a line `key=value`; its end is a line feed or the end of the text. Null when there is no such line. */
static const char *find(const char *key) {
    const char *line = config;
    while (*line) {
        const char *k = key, *c = line;
        while (*k && *k == *c) k++, c++;
        if (!*k && *c == '=') return c + 1;
        while (*line && *line != '\n') line++;
        if (*line) line++;
    }
    return NULL;
}

static size_t length_of(const char *value) {
    size_t length = 0;
    while (value[length] && value[length] != '\n' && value[length] != '\r') length++;
    return length;
}

/* Whether a key was pressed in time. Keys from before the question count, as they do with Windows' medium. */
static int ask(unsigned seconds) {
    struct input_key key;
    print(u"Press any key to boot from CD or DVD..");
    for (unsigned second = 0; second < seconds; second++) {
        print(u".");
        for (unsigned tick = 0; tick < SECOND / TICK; tick++) {
            if (system_table->in->read_key(system_table->in, &key) == EFI_SUCCESS) return 1;
            system_table->boot->stall(TICK);
        }
    }
    print(u"\r\n");
    return 0;
}

/* The kernel's device path: where this program came from, then a file path node (10.3.5.4), then the end. */
static efi_status make_path(efi_handle device, const char *name) {
    static const struct efi_guid guid = DEVICE_PATH_GUID;
    const uint8_t *node;
    size_t used = 0, length = length_of(name), whole = 4 + 2 * (length + 1);
    efi_status status = system_table->boot->handle_protocol(device, &guid, (void **)&node);
    if (status != EFI_SUCCESS) return status;
    while (node[0] != 0x7f) {
        size_t size = node[2] | (size_t)node[3] << 8;
        if (size < 4 || used + size + whole + 4 > PATH_ROOM) return EFI_UNSUPPORTED;
        memcpy(path + used, node, size);
        used += size;
        node += size;
    }
    if (used + whole + 4 > PATH_ROOM) return EFI_UNSUPPORTED;
    memcpy(path + used, (uint8_t[]){4, 4, (uint8_t)whole, (uint8_t)(whole >> 8)}, 4);
    for (size_t i = 0; i <= length; i++) {
        path[used + 4 + 2 * i] = i < length ? (uint8_t)name[i] : 0;
        path[used + 5 + 2 * i] = 0;
    }
    used += whole;
    memcpy(path + used, (uint8_t[]){0x7f, 0xff, 4, 0}, 4);
    return EFI_SUCCESS;
}

efi_status efi_main(efi_handle image, struct system_table *table) {
    static const struct efi_guid guid = LOADED_IMAGE_GUID;
    struct loaded_image *self, *kernel;
    efi_handle started;
    const char *value, *name;
    system_table = table;
    efi_status status = table->boot->handle_protocol(image, &guid, (void **)&self);
    if (status != EFI_SUCCESS) return fail(u"find itself", status);
    status = read_config(self->device);
    if (status != EFI_SUCCESS) return fail(u"read \\boot.cfg", status);

    value = find("prompt");
    if (value) {
        unsigned seconds = 0;
        for (; *value >= '0' && *value <= '9'; value++) seconds = seconds * 10 + (unsigned)(*value - '0');
        if (!ask(seconds)) return EFI_TIMEOUT;
        print(u"\r\nLoading files...\r\n");
    }

    name = find("kernel");
    if (!name) return fail(u"find the line 'kernel=' in \\boot.cfg", EFI_LOAD_ERROR);
    status = make_path(self->device, name);
    if (status != EFI_SUCCESS) return fail(u"name the kernel", status);
    status = table->boot->load_image(0, image, (struct device_path *)path, NULL, 0, &started);
    if (status != EFI_SUCCESS) return fail(u"load the kernel", status);
    status = table->boot->handle_protocol(started, &guid, (void **)&kernel);
    if (status != EFI_SUCCESS) return fail(u"find the kernel's image", status);
    value = find("options");
    if (value) {
        size_t length = length_of(value);
        for (size_t i = 0; i < length; i++) options[i] = (uint8_t)value[i];
        options[length] = 0;
        kernel->load_options = options;
        kernel->load_options_size = (uint32_t)(2 * (length + 1));
    }
    status = table->boot->start_image(started, NULL, NULL);
    return fail(u"start the kernel", status);
}
