!> CRC-32 and Adler-32, as PNG and zlib want them (RFC 2083, RFC 1950); the CRC guards checkpoints too.
module checksum
   use kinds, only: int8, int32, int64
   implicit none
   private
   public :: crc32, adler32

   !> The polynomial of ISO 3309, bits reversed.
   integer(int32), parameter :: polynomial = int(z'6DB88320', int32)
   integer(int32), save :: table(0:255)
   logical, save :: table_ready = .false.

contains

   !> CRC-32 of `bytes`; `before` is the CRC of the bytes before them, if any.
   integer(int32) function crc32(bytes, before)
      integer(int8), intent(in) :: bytes(:)
      integer(int32), intent(in), optional :: before
      integer :: k

      if (.not. table_ready) call make_table()
      crc32 = -1
      if (present(before)) crc32 = not(before)
      do k = 1, size(bytes)
         crc32 = ieor(table(iand(ieor(crc32, int(bytes(k), int32)), 255)), shiftr(crc32, 8))
      end do
      crc32 = not(crc32)
   end function crc32

   subroutine make_table()
      integer :: n, k
      integer(int32) :: entry

      do n = 0, 255
         entry = int(n, int32)
         do k = 1, 8
            if (btest(entry, 0)) then
               ! The polynomial is EDB88320: its top bit does not fit a positive int32 constant, so it is set here.
               entry = ieor(shiftr(entry, 1), ibset(polynomial, 31))
            else
               entry = shiftr(entry, 1)
            end if
         end do
         table(n) = entry
      end do
      table_ready = .true.
   end subroutine make_table

   !> Adler-32 of `bytes`.
   pure integer(int32) function adler32(bytes)
      integer(int8), intent(in) :: bytes(:)
      integer(int64), parameter :: base = 65521_int64
      !> The sums of so many bytes do not overflow, so the remainder is taken only once a block.
      integer, parameter :: block = 4096
      integer(int64) :: a, b
      integer :: first, k

      a = 1
      b = 0
      do first = 1, size(bytes), block
         do k = first, min(first + block - 1, size(bytes))
            a = a + iand(int(bytes(k), int64), 255_int64)
            b = b + a
         end do
         a = modulo(a, base)
         b = modulo(b, base)
      end do
      adler32 = ior(shiftl(int(b, int32), 16), int(a, int32))
   end function adler32

end module checksum
