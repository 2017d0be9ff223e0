!> Writes 8-bit RGB images as PNG (RFC 2083), in stored deflate blocks: no compression, no library.
module png
   use kinds, only: int8, int32
   use checksum, only: crc32, adler32
   use files, only: rename_file
   implicit none
   private
   public :: write_png

   !> Largest stored deflate block (RFC 1951, section 3.2.4).
   integer, parameter :: largest_block = 65535

contains

   !> Writes `pixels` (3, columns, rows), top row first, to `path`: under another name first, then renamed, so that nobody ever
   !> reads half an image.
   subroutine write_png(path, pixels, ok)
      character(*), intent(in) :: path
      integer(int8), intent(in) :: pixels(:, :, :)
      logical, intent(out) :: ok
      integer(int8), parameter :: signature(8) = int([-119, 80, 78, 71, 13, 10, 26, 10], int8)
      integer :: unit, stat

      ok = .false.
      open (newunit=unit, file=trim(path)//'.part', access='stream', form='unformatted', status='replace', action='write', &
         & iostat=stat)
      if (stat /= 0) return
      write (unit, iostat=stat) signature
      ! Eight bits, colour type 2 (RGB), deflate, adaptive filters, not interlaced.
      if (stat == 0) call write_chunk(unit, 'IHDR', [big_endian(size(pixels, 2)), big_endian(size(pixels, 3)), &
         & int([8, 2, 0, 0, 0], int8)], stat)
      if (stat == 0) call write_chunk(unit, 'IDAT', zlib_stored(scanlines(pixels)), stat)
      if (stat == 0) call write_chunk(unit, 'IEND', [integer(int8) ::], stat)
      close (unit)
      if (stat == 0) ok = rename_file(trim(path)//'.part', path)
   end subroutine write_png

   subroutine write_chunk(unit, name, data, stat)
      integer, intent(in) :: unit
      character(4), intent(in) :: name
      integer(int8), intent(in) :: data(:)
      integer, intent(out) :: stat
      integer(int8) :: name_bytes(4)

      name_bytes = transfer(name, name_bytes)
      write (unit, iostat=stat) big_endian(size(data)), name_bytes, data, big_endian(crc32(data, crc32(name_bytes)))
   end subroutine write_chunk

   !> Rows with the filter byte 0 (none) before each.
   pure function scanlines(pixels) result(bytes)
      integer(int8), intent(in) :: pixels(:, :, :)
      integer(int8) :: bytes((3*size(pixels, 2) + 1)*size(pixels, 3))
      integer :: row, first, width

      width = 3*size(pixels, 2)
      do row = 1, size(pixels, 3)
         first = (row - 1)*(width + 1) + 1
         bytes(first) = 0_int8
         bytes(first + 1:first + width) = reshape(pixels(:, :, row), [width])
      end do
   end function scanlines

   pure function zlib_stored(bytes) result(stream)
      integer(int8), intent(in) :: bytes(:)
      integer(int8), allocatable :: stream(:)
      integer :: n_blocks, first, last, at

      n_blocks = (size(bytes) + largest_block - 1)/largest_block
      allocate (stream(2 + 5*n_blocks + size(bytes) + 4))
      ! zlib header: deflate with a 32 KiB window; 7801 (hexadecimal) is a multiple of 31, as RFC 1950 asks.
      stream(1:2) = int([120, 1], int8)
      at = 3
      do first = 1, size(bytes), largest_block
         last = min(first + largest_block - 1, size(bytes))
         stream(at) = merge(1_int8, 0_int8, last == size(bytes))
         stream(at + 1:at + 2) = little_endian_16(last - first + 1)
         stream(at + 3:at + 4) = not(stream(at + 1:at + 2))
         stream(at + 5:at + 5 + last - first) = bytes(first:last)
         at = at + 5 + last - first + 1
      end do
      stream(at:at + 3) = big_endian(adler32(bytes))
   end function zlib_stored

   pure function big_endian(number) result(bytes)
      integer(int32), intent(in) :: number
      integer(int8) :: bytes(4)
      bytes = [low_byte(shiftr(number, 24)), low_byte(shiftr(number, 16)), low_byte(shiftr(number, 8)), low_byte(number)]
   end function big_endian

   pure function little_endian_16(number) result(bytes)
      integer(int32), intent(in) :: number
      integer(int8) :: bytes(2)
      bytes = [low_byte(number), low_byte(shiftr(number, 8))]
   end function little_endian_16

   pure integer(int8) function low_byte(number)
      integer(int32), intent(in) :: number
      integer(int32) :: byte

      byte = iand(number, 255_int32)
      low_byte = int(merge(byte - 256_int32, byte, byte > 127_int32), int8)
   end function low_byte

end module png
