CALLOUT_SOURCES := $(wildcard callout/*.c)
CALLOUT_OBJECTS := $(patsubst callout/%.c,$(BUILD)/callout/%.o,$(CALLOUT_SOURCES)) $(BUILD)/callout/wfpcallout.res
CALLOUT_CFLAGS  := $(COMMON) -Iinclude/mingw \
                   -fstack-protector-strong -mno-red-zone
# No DLL, as a driver of the kit is none; version 10.0 of the system is the oldest that it is for.
CALLOUT_LDFLAGS := -nostdlib -Wl,--subsystem,native:10.0 -Wl,--major-os-version,10 -Wl,--minor-os-version,0 \
                   -Wl,--entry,DriverStart -Wl,--image-base,0x140000000 -Wl,--dynamicbase -Wl,--high-entropy-va \
                   -Wl,--nxcompat -Wl,--enable-reloc-section -Wl,--exclude-all-symbols $(LDREPRO)

$(BUILD)/callout/%.o: callout/%.c $(wildcard callout/*.h) $(wildcard include/*.h) $(wildcard include/mingw/*.h)
	@mkdir -p $(@D)
	$(CC) $(CALLOUT_CFLAGS) -c $< -o $@

$(BUILD)/callout/%.res: callout/%.rc
	@mkdir -p $(@D)
	$(WINDRES) --codepage=65001 -O coff $< $@

# The debug information stays beside it: the loader would map it with the driver. (The dates are those in the file.)
$(BUILD)/wfpcallout.sys: $(CALLOUT_OBJECTS) $(BUILD)/libfwpkclnt.a $(BUILD)/libndis.a
	$(CC) $(CALLOUT_LDFLAGS) $(CALLOUT_OBJECTS) -L$(BUILD) -lfwpkclnt -lndis -lntoskrnl -lhal -o $(BUILD)/wfpcallout.debug
	$(OBJCOPY) --preserve-dates --strip-all $(BUILD)/wfpcallout.debug $@

# The same driver once more, with a device and keys of its own: for what two drivers do to each other.
SECOND_FLAGS   := -DWFPCALLOUT_INSTANCE=1
SECOND_OBJECTS := $(patsubst callout/%.c,$(BUILD)/callout2/%.o,$(CALLOUT_SOURCES)) $(BUILD)/callout2/wfpcallout.res

$(BUILD)/callout2/%.o: callout/%.c $(wildcard callout/*.h) $(wildcard include/*.h) $(wildcard include/mingw/*.h)
	@mkdir -p $(@D)
	$(CC) $(CALLOUT_CFLAGS) $(SECOND_FLAGS) -DWFPCALLOUT_NAME='L"WfpCallout2"' -c $< -o $@

$(BUILD)/callout2/%.res: callout/%.rc
	@mkdir -p $(@D)
	$(WINDRES) --codepage=65001 $(SECOND_FLAGS) -O coff $< $@

$(BUILD)/wfpcallout2.sys: $(SECOND_OBJECTS) $(BUILD)/libfwpkclnt.a $(BUILD)/libndis.a
	$(CC) $(CALLOUT_LDFLAGS) $(SECOND_OBJECTS) -L$(BUILD) -lfwpkclnt -lndis -lntoskrnl -lhal -o $(BUILD)/wfpcallout2.debug
	$(OBJCOPY) --preserve-dates --strip-all $(BUILD)/wfpcallout2.debug $@
