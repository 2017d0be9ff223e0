!> Seeded pseudo-random numbers that are the same with every compiler: L'Ecuyer 1988, Commun. ACM 31, 742 (two combined generators).
module random
   use kinds, only: dp, int64
   implicit none
   private
   public :: generator_type, new_generator

   integer(int64), parameter :: modulus_1 = 2147483563_int64, modulus_2 = 2147483399_int64

   type :: generator_type
      private
      integer(int64) :: state_1 = 1, state_2 = 1
   contains
      procedure :: uniform
      procedure :: between
   end type generator_type

contains

   !> Generator for `seed` (any integer); `stream` keeps apart draws for different purposes with one seed.
   pure function new_generator(seed, stream) result(generator)
      integer, intent(in) :: seed, stream
      type(generator_type) :: generator

      generator%state_1 = 1 + modulo(mixed(int(seed, int64), int(stream, int64)), modulus_1 - 1)
      generator%state_2 = 1 + modulo(mixed(int(stream, int64) + 1000003_int64, int(seed, int64)), modulus_2 - 1)
   end function new_generator

   !> A number in 0..2^31-2 that depends on both arguments in no simple way. The generators are linear: without this, neighbouring
   !> seeds would draw numbers a constant apart.
   pure integer(int64) function mixed(a, b)
      integer(int64), intent(in) :: a, b
      integer(int64), parameter :: prime = 2147483647_int64
      integer :: k

      mixed = modulo(a, prime)
      do k = 1, 6
         mixed = modulo(ieor(mixed, shiftr(mixed, 13))*48271_int64 + modulo(b, prime) + int(k, int64), prime)
         mixed = ieor(mixed, shiftr(mixed, 17))
      end do
      mixed = modulo(mixed, prime)
   end function mixed

   !> Next number, in (0, 1).
   pure subroutine uniform(self, number)
      class(generator_type), intent(inout) :: self
      real(dp), intent(out) :: number
      integer(int64) :: difference

      self%state_1 = modulo(40014_int64*self%state_1, modulus_1)
      self%state_2 = modulo(40692_int64*self%state_2, modulus_2)
      difference = modulo(self%state_1 - self%state_2 - 1, modulus_1 - 1) + 1
      number = real(difference, dp)/real(modulus_1, dp)
   end subroutine uniform

   !> Next integer, `low` to `high` inclusive.
   pure subroutine between(self, low, high, number)
      class(generator_type), intent(inout) :: self
      integer, intent(in) :: low, high
      integer, intent(out) :: number
      real(dp) :: u

      call self%uniform(u)
      number = low + int(u*real(high - low + 1, dp))
   end subroutine between

end module random
